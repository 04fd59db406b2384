//! Pieces against a vector of bytes.

use std::sync::Arc;

use proptest::prelude::*;
use silt_store::MemoryStore;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Write(u64, Vec<u8>),
    Truncate(u64),
    Punch(u64, u64),
    /// Freezes what is there and goes on over it.
    Freeze,
    /// Places bytes of what was first frozen.
    Place(u64, u64, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0_u64..5000;
    prop_oneof![
        4 => (at.clone(), prop::collection::vec(any::<u8>(), 0..2000)).prop_map(|(at, data)| Op::Write(at, data)),
        1 => at.clone().prop_map(Op::Truncate),
        1 => (at.clone(), 0_u64..3000).prop_map(|(at, len)| Op::Punch(at, len)),
        1 => Just(Op::Freeze),
        1 => (at, 0_u64..100, 1_u64..100).prop_map(|(at, from, len)| Op::Place(at, from, len)),
    ]
}

#[test]
fn an_edition_of_a_large_file_seals_like_a_new_file_and_reads_little() {
    let dir = tempfile::tempdir().unwrap();
    let staging = Staging::new(dir.path(), 0).unwrap();
    let store = Arc::new(MemoryStore::new());
    let contents = Contents::new(store.clone());
    let mut bytes: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let base = Content::Stored(silt_store::blob::from_bytes(&*store, &bytes).unwrap());
    for (at, data) in [
        (5_000_000, &vec![7_u8; 100_000][..]),
        (11_999_990, &[8; 50]),
        (0, &[9]),
    ] {
        let mut pieces = Pieces::of(base.clone());
        pieces.write(at, data, &staging).unwrap();
        assert!(pieces.edition().is_some());
        let mut expected = bytes.clone();
        expected.resize(expected.len().max(at as usize + data.len()), 0);
        expected[at as usize..at as usize + data.len()].copy_from_slice(data);
        let Content::Staged(staged) = Content::freeze(pieces) else {
            panic!("changed")
        };
        crate::content::seal_all(&contents, std::slice::from_ref(&staged)).unwrap();
        let sealed = Content::Staged(staged).sealed().unwrap();
        assert_eq!(sealed, silt_store::blob::from_bytes(&*store, &expected).unwrap());
    }
    bytes.truncate(9_000_000);
    let mut pieces = Pieces::of(base);
    pieces.truncate(9_000_000);
    let Content::Staged(staged) = Content::freeze(pieces) else {
        panic!("changed")
    };
    crate::content::seal_all(&contents, std::slice::from_ref(&staged)).unwrap();
    let sealed = Content::Staged(staged).sealed().unwrap();
    assert_eq!(sealed, silt_store::blob::from_bytes(&*store, &bytes).unwrap());
}

#[test]
fn a_sparse_terabyte_seals_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let staging = Staging::new(dir.path(), 1 << 20).unwrap();
    let contents = Contents::new(Arc::new(MemoryStore::new()));
    let mut pieces = Pieces::default();
    pieces.write(1 << 39, b"in the middle", &staging).unwrap();
    pieces.truncate(1 << 40);
    let Content::Staged(staged) = Content::freeze(pieces) else {
        panic!("staged")
    };
    crate::content::seal_all(&contents, &[Arc::clone(&staged)]).unwrap();
    let mut seen = [0; 20];
    let content = Content::Staged(staged);
    content.read_exact_at(&contents, 1 << 39, &mut seen).unwrap();
    assert_eq!((content.len(), &seen[..14]), (1 << 40, &b"in the middle\0"[..]));
    let mut over = Pieces::of(content);
    over.write(5, b"x", &staging).unwrap();
    let Content::Staged(staged) = Content::freeze(over) else {
        panic!("staged")
    };
    crate::content::seal_all(&contents, &[staged]).unwrap();
}

/// The data ranges by `next_data`, as a mask of bytes.
fn data_mask(pieces: &Pieces, contents: &Contents) -> Vec<bool> {
    let mut mask = vec![false; pieces.len() as usize];
    let mut offset = 0;
    while let Some(data) = pieces.next_data(contents, offset).unwrap() {
        assert!(
            data.end > offset && data.end <= pieces.len(),
            "{data:?} after {offset}"
        );
        mask[data.start as usize..data.end as usize].fill(true);
        offset = data.end;
    }
    mask
}

proptest! {
    #[test]
    fn pieces_are_a_vector_of_bytes(ops in prop::collection::vec(op(), 1..40), limit in 0_u64..8000) {
        let dir = tempfile::tempdir().unwrap();
        let staging = Staging::new(dir.path(), limit).unwrap();
        let contents = Contents::new(Arc::new(MemoryStore::new()));
        let mut pieces = Pieces::default();
        let mut model: Vec<u8> = Vec::new();
        let mut first: Option<(Content, Vec<u8>)> = None;
        for op in ops {
            match op {
                Op::Write(at, data) => {
                    pieces.write(at, &data, &staging).unwrap();
                    let end = at as usize + data.len();
                    if !data.is_empty() {
                        model.resize(model.len().max(end), 0);
                        model[at as usize..end].copy_from_slice(&data);
                    }
                }
                Op::Truncate(len) => {
                    pieces.truncate(len);
                    model.resize(len as usize, 0);
                }
                Op::Punch(at, len) => {
                    pieces.punch(&(at..at + len));
                    let end = (at + len).min(model.len() as u64);
                    if at < end {
                        model[at as usize..end as usize].fill(0);
                    }
                }
                Op::Freeze => {
                    let content = Content::freeze(std::mem::take(&mut pieces));
                    first.get_or_insert_with(|| (content.clone(), model.clone()));
                    pieces = Pieces::of(content);
                }
                Op::Place(at, from, len) => {
                    if let Some((content, bytes)) = &first && from + len <= content.len() {
                        pieces.place(at, content.clone(), from, len);
                        let end = (at + len) as usize;
                        model.resize(model.len().max(end), 0);
                        model[at as usize..end].copy_from_slice(&bytes[from as usize..(from + len) as usize]);
                    }
                }
            }
            prop_assert_eq!(pieces.len(), model.len() as u64);
            prop_assert_eq!(pieces.covered, pieces.map.values().map(Piece::len).sum::<u64>());
            let mut bytes = vec![0xaa; model.len() + 10];
            let count = pieces.read_at(&contents, 0, &mut bytes).unwrap();
            prop_assert_eq!(&bytes[..count], &model[..]);
            let mask = data_mask(&pieces, &contents);
            prop_assert!(model.iter().zip(&mask).all(|(byte, data)| *data || *byte == 0));
        }
        if let Some((content, bytes)) = first {
            let mut seen = vec![0; bytes.len()];
            content.read_at(&contents, 0, &mut seen).unwrap();
            prop_assert_eq!(seen, bytes);
        }
        drop(pieces);
    }
}
