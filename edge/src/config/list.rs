//! A list of strings that are each read in their own way, or one alone.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// How an element is read, and what it looks like.
pub(super) struct List<T> {
    /// The message says what is wrong with it, and what is right.
    pub(super) read: fn(&str) -> Result<T, String>,
    /// Several of them, in the plural.
    pub(super) name: &'static str,
    pub(super) example: &'static str,
}

impl<T> List<T> {
    pub(super) fn of<'de, D: Deserializer<'de>>(self, from: D) -> Result<Vec<T>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}, [\"{}\", \"…\"]", self.name, self.example)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        One(&self).visit_str(text).map(|one| vec![one])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element_seed(One(&self))? {
            elements.push(element);
        }
        Ok(elements)
    }
}

/// An element.
struct One<'l, T>(&'l List<T>);

impl<'de, T> Visitor<'de> for One<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}, \"{}\"", self.0.name, self.0.example)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0.read)(text).map_err(E::custom)
    }
}

impl<'de, T> DeserializeSeed<'de> for One<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        from.deserialize_str(self)
    }
}
