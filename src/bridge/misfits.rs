//! What in a decoded document does not have its declared type.
//!
//! Most of a document that was refused is all right. This walks all of it without a call into
//! Python, and hands over what is not: a check of the type words the errors (`spikard._violations`).

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

/// The walk over documents of one declared type.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct Misfits {
    root: Node,
}

/// A type. `check(value, loc, shown)` returns the errors of a value of another one.
enum Node {
    /// Fits when it is exactly an instance of one of these classes; else the check decides.
    Leaf {
        fitting: Vec<Py<PyType>>,
        check: Py<PyAny>,
    },
    List {
        item: Box<Node>,
        check: Py<PyAny>,
    },
    /// A dict with these members, and with others.
    Object {
        members: Vec<Member>,
        check: Py<PyAny>,
        /// `missing(loc, shown)` returns the error of a member that is required and not there.
        missing: Py<PyAny>,
    },
}

struct Member {
    name: Py<PyString>,
    is_required: bool,
    node: Node,
}

/// A step from a value to one inside it.
#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a Py<PyString>),
    Index(usize),
}

#[pymethods]
impl Misfits {
    /// A node is `("leaf", [class, …], check)`, `("list", item, check)` or
    /// `("object", [(name, is_required, node), …], check, missing)`.
    #[new]
    fn new(root: &Bound<'_, PyTuple>) -> PyResult<Self> {
        Node::read(root).map(|root| Self { root })
    }

    /// The errors of a value at `loc`, at least `limit` where there are as many; `shown` is what
    /// the client sent in the place of `value`.
    fn __call__<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        loc: Bound<'py, PyTuple>,
        shown: &Bound<'py, PyAny>,
        limit: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut walk = Walk {
            found: PyList::empty(value.py()),
            loc,
            steps: Vec::new(),
            limit,
        };
        walk.visit(&self.root, value, shown)?;
        Ok(walk.found)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.root.traverse(&visit)
    }
}

struct Walk<'a, 'py> {
    found: Bound<'py, PyList>,
    loc: Bound<'py, PyTuple>,
    steps: Vec<Step<'a>>,
    limit: usize,
}

impl<'a, 'py> Walk<'a, 'py> {
    fn visit(
        &mut self,
        node: &'a Node,
        value: &Bound<'py, PyAny>,
        shown: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        match node {
            Node::Leaf { fitting, check } => {
                let class = value.get_type_ptr();
                if fitting.iter().any(|each| each.as_ptr().cast() == class) {
                    return Ok(());
                }
                self.ask(check, value, shown)
            }
            Node::List { item, check } => {
                let Ok(list) = value.cast_exact::<PyList>() else {
                    return self.ask(check, value, shown);
                };
                let raw = shown
                    .cast_exact::<PyList>()
                    .ok()
                    .filter(|raw| !raw.is(list) && raw.len() == list.len());
                for (index, each) in list.iter().enumerate() {
                    if self.is_full() {
                        break;
                    }
                    let shown = raw.and_then(|raw| raw.get_item(index).ok());
                    self.steps.push(Step::Index(index));
                    self.visit(item, &each, shown.as_ref().unwrap_or(&each))?;
                    self.steps.pop();
                }
                Ok(())
            }
            Node::Object {
                members,
                check,
                missing,
            } => {
                let Ok(dict) = value.cast_exact::<PyDict>() else {
                    return self.ask(check, value, shown);
                };
                let raw = shown.cast_exact::<PyDict>().ok();
                let raw = raw.filter(|raw| !raw.is(dict));
                for member in members {
                    let name = member.name.bind(value.py());
                    self.steps.push(Step::Name(&member.name));
                    if let Some(each) = dict.get_item(name)? {
                        let shown = match raw {
                            Some(raw) => raw.get_item(name)?,
                            None => None,
                        };
                        self.visit(&member.node, &each, shown.as_ref().unwrap_or(&each))?;
                    } else if member.is_required {
                        let error = missing.bind(value.py()).call1((self.place()?, shown))?;
                        self.found.append(error)?;
                    }
                    self.steps.pop();
                }
                Ok(())
            }
        }
    }

    fn ask(
        &self,
        check: &Py<PyAny>,
        value: &Bound<'py, PyAny>,
        shown: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if self.is_full() {
            return Ok(());
        }
        let errors = check
            .bind(value.py())
            .call1((value, self.place()?, shown))?;
        for error in errors.try_iter()? {
            self.found.append(error?)?;
            if self.is_full() {
                break;
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    /// The place of the value that is being looked at, as a tuple of strings.
    fn place(&self) -> PyResult<Bound<'py, PyTuple>> {
        let py = self.loc.py();
        if self.steps.is_empty() {
            return Ok(self.loc.clone());
        }
        let steps = self.steps.iter().map(|step| match step {
            Step::Name(name) => name.bind(py).clone(),
            Step::Index(index) => PyString::new(py, itoa::Buffer::new().format(*index)),
        });
        let base = self.loc.iter().map(Bound::cast_into::<PyString>);
        let base = base.collect::<Result<Vec<_>, _>>()?;
        let place: Vec<_> = base.into_iter().chain(steps).collect();
        PyTuple::new(py, place)
    }
}

impl Node {
    fn read(given: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let kind: String = given.get_item(0)?.extract()?;
        let check = given.get_item(2)?.unbind();
        Ok(match kind.as_str() {
            "leaf" => Self::Leaf {
                fitting: given.get_item(1)?.extract()?,
                check,
            },
            "list" => Self::List {
                item: Box::new(Self::read(&given.get_item(1)?.cast_into()?)?),
                check,
            },
            "object" => {
                type Given<'py> = (Bound<'py, PyString>, bool, Bound<'py, PyTuple>);
                let members: Vec<Given<'_>> = given.get_item(1)?.extract()?;
                let members = members.into_iter().map(|(name, is_required, node)| {
                    Ok(Member {
                        name: name.unbind(),
                        is_required,
                        node: Self::read(&node)?,
                    })
                });
                Self::Object {
                    members: members.collect::<PyResult<_>>()?,
                    check,
                    missing: given.get_item(3)?.unbind(),
                }
            }
            other => return Err(PyValueError::new_err(format!("no such node: {other:?}"))),
        })
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Leaf { fitting, check } => {
                fitting.iter().try_for_each(|class| visit.call(class))?;
                visit.call(check)
            }
            Self::List { item, check } => {
                item.traverse(visit)?;
                visit.call(check)
            }
            Self::Object {
                members,
                check,
                missing,
            } => {
                visit.call(check)?;
                visit.call(missing)?;
                members
                    .iter()
                    .try_for_each(|each| each.node.traverse(visit))
            }
        }
    }
}
