//! Bytes of a mapping below its frozen length are visible to whoever sees that length.
//!
//! Loom cannot watch mapped memory. A relaxed atomic stands for each of the bytes: stored before
//! the real `write`, loaded after the real `frozen_bytes`. It shows an old value wherever the
//! real order allows one.

use super::{PREEMPTIONS_MAX, check};
use crate::storage::MappingWriter;
use crate::sync::{Arc, AtomicU64, Ordering, thread};

const BYTES: usize = 3;

#[test]
fn frozen_bytes_are_visible() {
    check("frozen bytes", PREEMPTIONS_MAX, || {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let mut writer = MappingWriter::new(&file, 4096).unwrap();
        let bytes: Arc<[AtomicU64; BYTES]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let (mapping, seen) = (Arc::clone(writer.mapping()), Arc::clone(&bytes));
        let look = move || {
            let mut before = 0;
            for _ in 0..2 {
                let frozen = mapping.frozen_bytes();
                for (at, byte) in frozen.iter().enumerate() {
                    let value = at as u64 + 1;
                    let shown = seen[at].load(Ordering::Relaxed);
                    assert_eq!((u64::from(*byte), shown), (value, value), "byte {at}");
                }
                assert!(frozen.len() >= before, "frozen bytes stay frozen");
                before = frozen.len();
            }
        };
        let reader = thread::Builder::new().spawn(look).unwrap();
        for at in 0..BYTES {
            bytes[at].store(at as u64 + 1, Ordering::Relaxed);
            writer.write(at, &[at as u8 + 1]);
            // Some bytes are frozen one by one, some together.
            if at != 1 {
                writer.freeze(at + 1);
            }
        }
        reader.join().unwrap();
    });
}
