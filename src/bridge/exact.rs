//! Whether a handler's result holds nothing but instances of the very types that it declares.
//!
//! Then it needs no round trip through the decoder: its encoding fits by construction. The check
//! may say no to a value that fits (the round trip decides then), never yes to one that does not.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

/// Containers inside each other up to which values are looked at: deeper ones are left to the
/// decoder, which has its own limit, instead of to the stack.
const DEPTH_LIMIT: usize = 64;

/// The check of one declared type, and what to call with a value: `then(value)` or `otherwise(value)`.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct Exact {
    root: Node,
    structs: Vec<Struct>,
    /// Called with a value that fits.
    then: Py<PyAny>,
    otherwise: Py<PyAny>,
}

enum Node {
    Any,
    /// Exactly an instance of this class, not of one below it.
    Type(Py<PyType>),
    /// A float that JSON has.
    Float,
    List(Box<Node>),
    Dict(Box<Node>, Box<Node>),
    /// One of `Exact::structs`: types may contain themselves.
    Struct(usize),
    Union(Vec<Node>),
}

struct Struct {
    class: Py<PyType>,
    /// Fields that can hold something else than their type says; a struct does not check.
    fields: Vec<(Py<PyString>, Node)>,
}

#[pymethods]
impl Exact {
    /// `root` is a node, `structs` a list of `(class, [(field, node), …])`. A node is a tuple:
    /// `("any",)`, `("type", class)`, `("float",)`, `("list", item)`, `("dict", key, value)`,
    /// `("struct", index)`, `("union", [node, …])`.
    #[new]
    fn new(
        root: &Bound<'_, PyTuple>,
        structs: Vec<Bound<'_, PyTuple>>,
        then: Py<PyAny>,
        otherwise: Py<PyAny>,
    ) -> PyResult<Self> {
        let count = structs.len();
        let structs = structs
            .into_iter()
            .map(|given| Struct::read(&given, count))
            .collect::<PyResult<_>>()?;
        let root = Node::read(root, count)?;
        Ok(Self {
            root,
            structs,
            then,
            otherwise,
        })
    }

    fn __call__<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let callee = if self.fits(&self.root, value, 0) {
            &self.then
        } else {
            &self.otherwise
        };
        callee.bind(value.py()).call1((value,))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.then)?;
        visit.call(&self.otherwise)?;
        self.root.traverse(&visit)?;
        for each in &self.structs {
            visit.call(&each.class)?;
            for (_, node) in &each.fields {
                node.traverse(&visit)?;
            }
        }
        Ok(())
    }
}

impl Exact {
    fn fits(&self, node: &Node, value: &Bound<'_, PyAny>, depth: usize) -> bool {
        match node {
            Node::Any => true,
            Node::Type(class) => is_exactly(value, class),
            Node::Float => value
                .cast_exact::<PyFloat>()
                .is_ok_and(|float| float.value().is_finite()),
            Node::Union(members) => members.iter().any(|node| self.fits(node, value, depth)),
            _ if depth == DEPTH_LIMIT => false,
            Node::List(item) => value
                .cast_exact::<PyList>()
                .is_ok_and(|list| list.iter().all(|each| self.fits(item, &each, depth + 1))),
            Node::Dict(key, item) => value.cast_exact::<PyDict>().is_ok_and(|dict| {
                dict.iter().all(|(name, each)| {
                    self.fits(key, &name, depth + 1) && self.fits(item, &each, depth + 1)
                })
            }),
            Node::Struct(index) => {
                let Struct { class, fields } = &self.structs[*index];
                is_exactly(value, class)
                    && fields.iter().all(|(name, node)| {
                        value
                            .getattr(name.bind(value.py()))
                            .is_ok_and(|field| self.fits(node, &field, depth + 1))
                    })
            }
        }
    }
}

fn is_exactly(value: &Bound<'_, PyAny>, class: &Py<PyType>) -> bool {
    value.get_type_ptr() == class.bind(value.py()).as_type_ptr()
}

impl Struct {
    fn read(given: &Bound<'_, PyTuple>, count: usize) -> PyResult<Self> {
        let class = given.get_item(0)?.extract()?;
        let fields: Vec<(Bound<'_, PyString>, Bound<'_, PyTuple>)> =
            given.get_item(1)?.extract()?;
        let fields = fields
            .into_iter()
            .map(|(name, node)| Ok((interned(&name), Node::read(&node, count)?)))
            .collect::<PyResult<_>>()?;
        Ok(Self { class, fields })
    }
}

/// A class's attributes are found fastest by the interned name.
fn interned(name: &Bound<'_, PyString>) -> Py<PyString> {
    PyString::intern(name.py(), &name.to_string_lossy()).unbind()
}

impl Node {
    fn read(given: &Bound<'_, PyTuple>, count: usize) -> PyResult<Self> {
        let kind: String = given.get_item(0)?.extract()?;
        let inner = |index: usize| {
            let node = given.get_item(index)?.cast_into::<PyTuple>()?;
            Self::read(&node, count).map(Box::new)
        };
        Ok(match kind.as_str() {
            "any" => Self::Any,
            "float" => Self::Float,
            "type" => Self::Type(given.get_item(1)?.extract()?),
            "list" => Self::List(inner(1)?),
            "dict" => Self::Dict(inner(1)?, inner(2)?),
            "union" => {
                let members: Vec<Bound<'_, PyTuple>> = given.get_item(1)?.extract()?;
                let members = members.iter().map(|node| Self::read(node, count));
                Self::Union(members.collect::<PyResult<_>>()?)
            }
            "struct" => match given.get_item(1)?.extract::<usize>()? {
                index if index < count => Self::Struct(index),
                index => {
                    return Err(PyValueError::new_err(format!(
                        "struct: expected an index below {count}, got {index}"
                    )));
                }
            },
            other => return Err(PyValueError::new_err(format!("no such node: {other:?}"))),
        })
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Type(class) => visit.call(class),
            Self::List(item) => item.traverse(visit),
            Self::Dict(key, item) => {
                key.traverse(visit)?;
                item.traverse(visit)
            }
            Self::Union(members) => members.iter().try_for_each(|each| each.traverse(visit)),
            Self::Any | Self::Float | Self::Struct(_) => Ok(()),
        }
    }
}
