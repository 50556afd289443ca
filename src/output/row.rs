//! The cells of one row of a table, which serde takes from a struct. Knows nothing of columns.
//!
//! The cells of all rows go through one buffer. With a map of JSON values for each row, a table of
//! 65,536 rows takes half as much time again.

use std::fmt::{Display, Write};

use serde::ser::{Error as _, Impossible, SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::Error;

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// `None`, printed as `-`.
    Nothing,
    /// Also two numbers with a slash between them.
    Number,
    Text,
}

#[derive(Default)]
pub(super) struct Row {
    text: String,
    /// What each cell holds, and where it ends in `text`.
    cells: Vec<(Content, usize)>,
}

impl Row {
    /// Replaces the cells by those of a struct whose fields are numbers, texts and `Option`s.
    pub(super) fn set(&mut self, fields: &impl Serialize) -> Result<(), Error> {
        self.text.clear();
        self.cells.clear();
        fields.serialize(self)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Content, &str)> {
        let mut start = 0;
        self.cells.iter().map(move |&(content, end)| {
            let text = &self.text[start..end];
            start = end;
            (content, text)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    fn push(&mut self, content: Content, text: impl Display) -> Result<(), Error> {
        write!(self.text, "{text}").map_err(Error::custom)?;
        self.cells.push((content, self.text.len()));
        Ok(())
    }

    fn push_text(&mut self, text: impl Display) -> Result<(), Error> {
        let start = self.text.len();
        write!(self.text, "{text}").map_err(Error::custom)?;
        let is_pair = is_pair_of_numbers(&self.text[start..]);
        let content = if is_pair { Content::Number } else { Content::Text };
        self.cells.push((content, self.text.len()));
        Ok(())
    }
}

/// `33.3/50.0`, but not `10.0.0.0/8`.
fn is_pair_of_numbers(text: &str) -> bool {
    match text.split_once('/') {
        Some((a, b)) => a.parse::<f64>().is_ok() && b.parse::<f64>().is_ok(),
        None => false,
    }
}

macro_rules! push_numbers {
    ($($method:ident: $number:ty,)*) => {
        $(fn $method(self, number: $number) -> Result<(), Error> {
            self.push(Content::Number, number)
        })*
    };
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*) -> $result:ty,)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$result, Error> {
            Err(Error::custom("a table has numbers and texts in its cells, nothing else"))
        })*
    };
}

type Refused = Impossible<(), Error>;

impl Serializer for &mut Row {
    type Ok = ();
    type Error = Error;
    type SerializeStruct = Self;
    type SerializeMap = Self;
    type SerializeSeq = Refused;
    type SerializeTuple = Refused;
    type SerializeTupleStruct = Refused;
    type SerializeTupleVariant = Refused;
    type SerializeStructVariant = Refused;

    push_numbers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
    }

    refuse! {
        serialize_bytes(&[u8]) -> (),
        serialize_seq(Option<usize>) -> Refused,
        serialize_tuple(usize) -> Refused,
        serialize_tuple_struct(&'static str, usize) -> Refused,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Refused,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Refused,
    }

    fn serialize_f32(self, number: f32) -> Result<(), Error> {
        self.serialize_f64(number.into())
    }

    /// `2.0` rather than `2`, as JSON has it.
    fn serialize_f64(self, number: f64) -> Result<(), Error> {
        self.push(Content::Number, format_args!("{number:?}"))
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.push_text(value)
    }

    fn serialize_char(self, c: char) -> Result<(), Error> {
        self.push_text(c)
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.push_text(text)
    }

    fn collect_str<T: Display + ?Sized>(self, text: &T) -> Result<(), Error> {
        self.push_text(text)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.push(Content::Nothing, '-')
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    /// A struct with a flattened field is a map to serde.
    fn serialize_map(self, _: Option<usize>) -> Result<Self, Error> {
        Ok(self)
    }
}

impl SerializeStruct for &mut Row {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl SerializeMap for &mut Row {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}
