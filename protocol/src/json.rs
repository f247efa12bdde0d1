//! JSON as the protocol uses it: texts that are borrowed where they can be, numbers in the forms that
//! clients of dynamic languages send, values that are carried and not read. It must not know what the
//! values mean.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::limits;

/// A text, borrowed unless it has escapes. `Cow` itself is never borrowed inside an `Option`.
#[derive(Debug)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfText;
        impl<'de> Visitor<'de> for OfText {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(OfText)
    }
}

/// Keeps a value as it stands, also `null`: only so can it be replaced in place.
pub(crate) fn as_it_stands<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A number that is not negative: an integer, or a fraction, which is rounded up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count(pub(crate) u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfCount;
        impl Visitor<'_> for OfCount {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number that is not negative")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Count, E> {
                Ok(Count(number))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Count, E> {
                let up = number.ceil();
                // Beyond 2⁵³ a fraction says nothing exact, and no span or size is that large.
                if (0.0..=9_007_199_254_740_992.0).contains(&up) {
                    return Ok(Count(up as u64));
                }
                Err(E::custom("a number that is not negative and below 2^53 is needed"))
            }
        }
        deserializer.deserialize_any(OfCount)
    }
}

/// A switch: `true`, or a number that is not 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag(pub(crate) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfFlag;
        impl Visitor<'_> for OfFlag {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, 1 or 0")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Flag, E> {
                Ok(Flag(number != 0))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Flag, E> {
                Ok(Flag(number != 0))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Flag, E> {
                Ok(Flag(number != 0.0))
            }
        }
        deserializer.deserialize_any(OfFlag)
    }
}

/// The lines of a backtrace, as many as are kept; the rest is read over.
#[derive(Debug, Default)]
pub(crate) struct Lines<'a>(pub(crate) Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Lines<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfLines<'a>(PhantomData<&'a str>);
        impl<'de: 'a, 'a> Visitor<'de> for OfLines<'a> {
            type Value = Lines<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of strings")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Lines<'a>, S::Error> {
                let mut lines = Vec::new();
                while lines.len() < limits::BACKTRACE_LINES_MAX {
                    let Some(Text(line)) = seq.next_element::<Text<'a>>()? else {
                        return Ok(Lines(lines));
                    };
                    lines.push(cut(line, limits::MESSAGE_CHARS_MAX));
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Lines(lines))
            }
        }
        deserializer.deserialize_seq(OfLines(PhantomData))
    }
}

/// Reads an array whose bound is known only at run time.
struct Bounded<T> {
    max: usize,
    element: PhantomData<T>,
}

/// Why an array was not read.
#[derive(Debug)]
pub(crate) enum ArrayError {
    /// It has more elements than allowed.
    TooMany,
    /// It is no array, or an element is not what it should be.
    Json(serde_json::Error),
}

/// Reads an array of at most `max` elements; a longer one is refused before more is kept of it.
pub(crate) fn array<'a, T: Deserialize<'a>>(
    text: &'a str,
    max: usize,
) -> Result<Vec<T>, ArrayError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = serde::de::DeserializeSeed::deserialize(
        Bounded { max, element: PhantomData },
        &mut deserializer,
    );
    match read.and_then(|elements| deserializer.end().map(|()| elements)) {
        Ok(Some(elements)) => Ok(elements),
        Ok(None) => Err(ArrayError::TooMany),
        Err(error) => Err(ArrayError::Json(error)),
    }
}

impl<'de, T: Deserialize<'de>> serde::de::DeserializeSeed<'de> for Bounded<T> {
    type Value = Option<Vec<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
        let mut elements = Vec::new();
        while elements.len() < self.max {
            let Some(element) = seq.next_element()? else {
                return Ok(Some(elements));
            };
            elements.push(element);
        }
        let mut is_over = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            is_over = true;
        }
        Ok((!is_over).then_some(elements))
    }
}

/// The first `max` characters of `text`.
pub(crate) fn cut(text: Cow<'_, str>, max: usize) -> Cow<'_, str> {
    // Bytes are never fewer than characters.
    if text.len() <= max {
        return text;
    }
    let Some((end, _)) = text.char_indices().nth(max) else {
        return text;
    };
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

/// Appends `value` as JSON.
///
/// # Panics
/// If it cannot be JSON, which values of this crate always can: their keys are strings, and their
/// serialisation has no failures of its own.
pub(crate) fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value)
        .expect("writing to memory does not fail, and keys are strings");
}
