-- wrk … -s post.lua URL -- CONTENT_TYPE BODY_FILE: every request is a POST of that file.
function init(arguments)
  local file = assert(io.open(arguments[2], "rb"))
  wrk.method = "POST"
  wrk.headers["Content-Type"] = arguments[1]
  wrk.body = file:read("*a")
  file:close()
end
