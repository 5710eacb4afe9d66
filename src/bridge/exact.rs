//! Whether a handler's result holds nothing but instances of the very types that it declares.
//!
//! Then it needs no round trip through the decoder: its encoding fits by construction. The check
//! may say no to a value that fits (the round trip decides then), never yes to one that does not.
//!
//! How this works: a check compares classes and runs no Python code, so nothing changes while it
//! looks. The fields of structs lie at an offset in the instance that the class's descriptor of
//! the field tells; reading them there is many times faster than asking for an attribute.

#![expect(unsafe_code, reason = "fields are read where they lie")]

use std::ptr;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

/// Containers inside each other up to which values are looked at: deeper ones are left to the
/// decoder, which has its own limit, instead of to the stack.
const DEPTH_LIMIT: usize = 64;

/// The check of one declared type, and what to call with a value: `then(value)` or `otherwise(value)`.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct Exact {
    types: Types,
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

/// The types of a value; see [`Exact`] for what it does with them.
struct Types {
    root: Node,
    structs: Vec<Struct>,
}

struct Struct {
    class: Py<PyType>,
    /// Fields that can hold something else than their type says; a struct does not check.
    fields: Vec<Field>,
}

struct Field {
    /// Bytes from the beginning of an instance to the field's reference; `None` when it is no
    /// slot, and then nothing fits.
    offset: Option<usize>,
    node: Node,
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
            types: Types { root, structs },
            then,
            otherwise,
        })
    }

    fn __call__<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let callee = if self.types.fits(&self.types.root, value.as_borrowed(), 0) {
            &self.then
        } else {
            &self.otherwise
        };
        callee.bind(value.py()).call1((value,))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.then)?;
        visit.call(&self.otherwise)?;
        self.types.root.traverse(&visit)?;
        for each in &self.types.structs {
            visit.call(&each.class)?;
            for field in &each.fields {
                field.node.traverse(&visit)?;
            }
        }
        Ok(())
    }
}

impl Types {
    fn fits(&self, node: &Node, value: Borrowed<'_, '_, PyAny>, depth: usize) -> bool {
        match node {
            Node::Any => true,
            Node::Type(class) => is_exactly(value, class),
            Node::Float => value
                .cast_exact::<PyFloat>()
                .is_ok_and(|float| float.value().is_finite()),
            Node::Union(members) => members.iter().any(|node| self.fits(node, value, depth)),
            _ if depth == DEPTH_LIMIT => false,
            Node::List(item) => value.cast_exact::<PyList>().is_ok_and(|list| {
                (0..list.len()).all(|index| self.fits(item, item_of(&list, index), depth + 1))
            }),
            Node::Dict(key, item) => value.cast_exact::<PyDict>().is_ok_and(|dict| {
                dict.iter().all(|(name, each)| {
                    self.fits(key, name.as_borrowed(), depth + 1)
                        && self.fits(item, each.as_borrowed(), depth + 1)
                })
            }),
            Node::Struct(index) => {
                let Struct { class, fields } = &self.structs[*index];
                is_exactly(value, class)
                    && fields.iter().all(|field| {
                        let value = field.read(value);
                        value.is_some_and(|value| self.fits(&field.node, value, depth + 1))
                    })
            }
        }
    }
}

/// The item of a list at an index below its length, without counting a reference.
#[expect(clippy::cast_possible_wrap, reason = "an index of a list, which fits")]
fn item_of<'a, 'py>(list: &'a Bound<'py, PyList>, index: usize) -> Borrowed<'a, 'py, PyAny> {
    // SAFETY: the index is below the list's length.
    let item = unsafe { ffi::PyList_GET_ITEM(list.as_ptr(), index as ffi::Py_ssize_t) };
    // SAFETY: the list holds it, and no code runs that could take it out meanwhile.
    unsafe { Borrowed::from_ptr(list.py(), item) }
}

fn is_exactly(value: Borrowed<'_, '_, PyAny>, class: &Py<PyType>) -> bool {
    value.get_type_ptr() == class.bind(value.py()).as_type_ptr()
}

impl Field {
    /// What the field of an instance of exactly its class holds, if it is set.
    fn read<'a, 'py>(
        &self,
        instance: Borrowed<'a, 'py, PyAny>,
    ) -> Option<Borrowed<'a, 'py, PyAny>> {
        let place = instance.as_ptr().wrapping_byte_add(self.offset?);
        // SAFETY: the class's descriptor told that a reference to an object lies there.
        let field = unsafe { *place.cast::<*mut ffi::PyObject>() };
        // SAFETY: the instance keeps what it refers to; null is an unset field.
        unsafe { Borrowed::from_ptr_or_opt(instance.py(), field) }
    }
}

/// Where instances of exactly `class` keep the field `name`; `None` when it is not a slot.
fn offset_of(class: &Bound<'_, PyType>, name: &Bound<'_, PyString>) -> Option<usize> {
    let descriptor = class.getattr(name).ok()?;
    if !ptr::eq(
        descriptor.get_type_ptr(),
        &raw const ffi::PyMemberDescr_Type,
    ) {
        return None;
    }
    let descriptor = descriptor.as_ptr().cast::<ffi::PyMemberDescrObject>();
    // SAFETY: an object of that type is this structure, which the class keeps.
    let descriptor = unsafe { &*descriptor };
    // SAFETY: a description lives as long as its descriptor.
    let member = unsafe { &*descriptor.d_member.cast::<ffi::PyMemberDef>() };
    // SAFETY: both are types, alive.
    let is_of_class =
        unsafe { ffi::PyType_IsSubtype(class.as_type_ptr(), descriptor.d_common.d_type) } != 0;
    (is_of_class && member.type_code == ffi::Py_T_OBJECT_EX)
        .then(|| member.offset.try_into().ok())
        .flatten()
}

impl Struct {
    fn read(given: &Bound<'_, PyTuple>, count: usize) -> PyResult<Self> {
        let class = given.get_item(0)?.cast_into::<PyType>()?;
        let fields: Vec<(Bound<'_, PyString>, Bound<'_, PyTuple>)> =
            given.get_item(1)?.extract()?;
        let fields = fields
            .into_iter()
            .map(|(name, node)| {
                Ok(Field {
                    offset: offset_of(&class, &name),
                    node: Node::read(&node, count)?,
                })
            })
            .collect::<PyResult<_>>()?;
        Ok(Self {
            class: class.unbind(),
            fields,
        })
    }
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
