//! Tags: words that a caller gives a job to find it by. They are held as they are written, so that a job
//! with tags takes one allocation more, and one without none.

use alloc::{sync::Arc, vec::Vec};

use super::Refusal;
use crate::limits;

/// Bytes of a tag's length.
const LEN_BYTES: usize = 2;

/// Tags of a job, each once, in the order in which they were given: per tag its length in two bytes,
/// little-endian, and its text.
///
/// ```
/// use tickwheel_core::Tags;
/// let tags = Tags::default().with("billing").with("eu").with("billing");
/// assert_eq!(tags.iter().collect::<Vec<_>>(), ["billing", "eu"]);
/// assert!(tags.contains("eu") && !tags.contains("e"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<[u8]>>);

impl Tags {
    /// The same, and `tag`, unless it is there already. Whether it is in its bounds is checked when the
    /// job is submitted.
    #[must_use]
    pub fn with(self, tag: &str) -> Self {
        if self.contains(tag) {
            return self;
        }
        // What is longer is refused, and one byte too many is enough for that.
        let text = &tag.as_bytes()[..tag.len().min(limits::TAG_BYTES_MAX + 1)];
        let mut bytes = Vec::with_capacity(self.bytes().len() + LEN_BYTES + text.len());
        bytes.extend(self.bytes());
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text);
        Self(Some(bytes.into()))
    }

    /// The tags that `bytes` are, if they are some.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut count = 0;
        while let Some((len, behind)) = rest.split_first_chunk::<LEN_BYTES>() {
            let (tag, behind) = behind.split_at_checked(u16::from_le_bytes(*len).into())?;
            let is_tag = (1..=limits::TAG_BYTES_MAX).contains(&tag.len());
            core::str::from_utf8(tag).ok().filter(|_| is_tag)?;
            (rest, count) = (behind, count + 1);
        }
        let is_list = rest.is_empty() && count <= limits::TAGS_MAX;
        is_list.then(|| Self((!bytes.is_empty()).then(|| bytes.into())))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The tags, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.bytes();
        core::iter::from_fn(move || {
            let (len, behind) = rest.split_first_chunk::<LEN_BYTES>()?;
            let (tag, behind) = behind.split_at_checked(u16::from_le_bytes(*len).into())?;
            rest = behind;
            // Only of a tag that is too long something is cut off, and that is refused.
            Some(core::str::from_utf8(tag).unwrap_or_default())
        })
    }

    /// Whether `tag` is among them.
    #[must_use]
    pub fn contains(&self, tag: &str) -> bool {
        self.iter().any(|other| other == tag)
    }

    /// Checks that there are not too many, and that none is empty or too long.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.iter().count() > limits::TAGS_MAX {
            return Err(Refusal::Tag("a job has at most 16: leave some out"));
        }
        let mut rest = self.bytes();
        while let Some((len, behind)) = rest.split_first_chunk::<LEN_BYTES>() {
            let len = usize::from(u16::from_le_bytes(*len));
            if !(1..=limits::TAG_BYTES_MAX).contains(&len) {
                return Err(Refusal::Tag("it has 1 to 64 bytes: use a short word such as billing"));
            }
            rest = behind.get(len..).unwrap_or_default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tags_come_back_from_their_bytes_each_once(
            words in prop::collection::vec("[a-cé]{1,3}", 0..=limits::TAGS_MAX),
        ) {
            let tags = words.iter().fold(Tags::default(), |tags, word| tags.with(word));
            let mut expected: Vec<&str> = Vec::new();
            for word in &words {
                if !expected.contains(&word.as_str()) {
                    expected.push(word);
                }
            }
            prop_assert_eq!(tags.iter().collect::<Vec<_>>(), expected);
            prop_assert_eq!(tags.check(), Ok(()));
            prop_assert_eq!(Tags::read(tags.bytes()), Some(tags));
        }

        #[test]
        fn any_bytes_are_tags_in_their_bounds_or_none(bytes in prop::collection::vec(0..9_u8, 0..40)) {
            if let Some(tags) = Tags::read(&bytes) {
                prop_assert_eq!(tags.check(), Ok(()));
                prop_assert_eq!(tags.bytes(), &bytes);
            }
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_and_not_read() {
        let many = (0..=limits::TAGS_MAX)
            .fold(Tags::default(), |tags, number| tags.with(&alloc::format!("tag-{number}")));
        let long = Tags::default().with(&"x".repeat(limits::TAG_BYTES_MAX + 1));
        // Cut in the middle of a character.
        let cut = Tags::default().with(&"é".repeat(limits::TAG_BYTES_MAX));
        for tags in [many, long, cut, Tags::default().with("")] {
            assert!(matches!(tags.check(), Err(Refusal::Tag(_))), "{tags:?}");
            assert_eq!(Tags::read(tags.bytes()), None, "{tags:?}");
        }
        let longest: String = "x".repeat(limits::TAG_BYTES_MAX);
        assert_eq!(Tags::default().with(&longest).check(), Ok(()));
    }
}
