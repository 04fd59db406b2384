//! Layers of images: a pair of trees with its digest, its tar, and its compressed blobs; what was once computed is remembered.
//!
//! In: pairs of trees; unpacked foreign layers. Out: `diff_id`s, tars, descriptors. Effects: `RecordKind::Layer` records.
//! Keys: `pair/1/` and two tree ids -> digest and size, a fact that keeps nothing alive; `tar/` and a digest -> the recipe of
//! a foreign layer; `blob/`, a digest, `/` and a compression -> a compressed blob. The last two keep content until `prune`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use silt_store::{Content, Record, RecordKind, Store, TreeRef, blob};

use super::compress::Encoder;
use super::copy::copy_range;
use super::digesting::Digesting;
use super::error::LayerError;
use super::pack::pack;
use super::recipe;
use super::unpack::Unpacked;
use crate::oci::digest::{DiffId, Digest};
use crate::oci::manifest::{Compression, Descriptor};

/// The number is that of `pack`'s canonical form.
const PAIR: &[u8] = b"pair/1/";

/// One layer of an image and the trees it leads from and to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of its uncompressed tar.
    pub diff_id: DiffId,
    /// The size of that tar.
    pub size: u64,
    /// The root below the layer.
    pub lower: TreeRef,
    /// The root with the layer.
    pub root: TreeRef,
}

/// A layer as a blob: its descriptor, and where its bytes are kept when they are.
#[derive(Debug, Clone)]
pub struct LayerBlob {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    content: Option<Content>,
}

#[derive(Serialize, Deserialize)]
struct Fact {
    digest: Digest,
    size: u64,
}

/// The layer that turns `lower` into `upper`; packed and digested the first time, looked up afterwards.
///
/// # Errors
/// As `pack`.
pub fn describe(store: &Arc<dyn Store>, lower: TreeRef, upper: TreeRef) -> Result<Layer, LayerError> {
    let key = [PAIR, lower.tree.as_bytes(), upper.tree.as_bytes()].concat();
    let layer = |fact: Fact| Layer {
        diff_id: DiffId(fact.digest),
        size: fact.size,
        lower,
        root: upper,
    };
    if let Some(record) = store.record(RecordKind::Layer, &key)?
        && let Ok(fact) = serde_json::from_slice(&record.value)
    {
        return Ok(layer(fact));
    }
    let mut out = Digesting::new(io::BufWriter::with_capacity(64 << 10, io::sink()));
    pack(store, lower, upper, &mut out)?;
    let (digest, size) = out.finish();
    let fact = Fact { digest, size };
    let record = Record {
        value: crate::oci::manifest::to_bytes(&fact),
        ..Record::default()
    };
    store.put_records_lazily(RecordKind::Layer, vec![(key, record)])?;
    Ok(layer(fact))
}

/// Remembers how to write the tar of a foreign layer that `unpack_recorded` unpacked from `lower`.
///
/// # Errors
/// `Store`.
pub fn remember_foreign(
    store: &Arc<dyn Store>,
    lower: TreeRef,
    unpacked: Unpacked,
    diff_id: DiffId,
    size: u64,
) -> Result<Layer, LayerError> {
    let key = foreign_key(&diff_id);
    let mut value = Vec::new();
    if let Some(recipe) = unpacked.contents.first() {
        recipe::write_content(&mut value, recipe).map_err(LayerError::Write)?;
    }
    let record = Record {
        roots: Vec::new(),
        contents: unpacked.contents,
        value,
    };
    store.put_record(RecordKind::Layer, &key, &record)?;
    Ok(Layer {
        diff_id,
        size,
        lower,
        root: unpacked.tree,
    })
}

/// Writes a layer's uncompressed tar, exactly the bytes that its `diff_id` names.
///
/// # Errors
/// `WrongDiffId` when it cannot be had any more; as `pack`.
pub fn write_tar(store: &Arc<dyn Store>, layer: &Layer, out: &mut dyn Write) -> Result<(), LayerError> {
    let mut out = Digesting::new(out);
    match store.record(RecordKind::Layer, &foreign_key(&layer.diff_id))? {
        Some(record) => {
            let recipe = recipe::read_content(&mut &*record.value)?;
            recipe::replay(store, &recipe, &mut out)?;
        }
        None => pack(store, layer.lower, layer.root, &mut out)?,
    }
    let actual = DiffId(out.finish().0);
    if actual == layer.diff_id {
        Ok(())
    } else {
        Err(LayerError::WrongDiffId {
            expected: layer.diff_id.clone(),
            actual,
        })
    }
}

/// The layer as a blob in `compression`; compressed the first time, looked up afterwards.
///
/// # Errors
/// As `write_tar`.
pub fn blob(
    store: &Arc<dyn Store>,
    layer: &Layer,
    compression: Compression,
) -> Result<LayerBlob, LayerError> {
    if compression == Compression::None {
        let descriptor = Descriptor::new(compression.layer_type(), layer.diff_id.0.clone(), layer.size);
        return Ok(LayerBlob {
            descriptor,
            content: None,
        });
    }
    let key = format!("blob/{}/{}", layer.diff_id, compression.name()).into_bytes();
    let kept = |fact: Fact, content: Content| LayerBlob {
        descriptor: Descriptor::new(compression.layer_type(), fact.digest, fact.size),
        content: Some(content),
    };
    if let Some(record) = store.record(RecordKind::Layer, &key)?
        && let Ok(fact) = serde_json::from_slice(&record.value)
        && let Some(content) = record.contents.into_iter().next()
        && blob::present(store.as_ref(), &content)?
    {
        return Ok(kept(fact, content));
    }
    let (fact, content) = compressed(store, layer, compression)?;
    let record = Record {
        roots: Vec::new(),
        contents: vec![content.clone()],
        value: crate::oci::manifest::to_bytes(&fact),
    };
    store.put_record(RecordKind::Layer, &key, &record)?;
    Ok(kept(fact, content))
}

impl LayerBlob {
    /// Writes the blob's bytes. `layer` is the one that `blob` was asked for.
    ///
    /// # Errors
    /// As `write_tar`.
    pub fn write(
        &self,
        store: &Arc<dyn Store>,
        layer: &Layer,
        out: &mut dyn Write,
    ) -> Result<(), LayerError> {
        match &self.content {
            Some(content) => copy_range(store, content, 0, content.len, out),
            None => write_tar(store, layer, out),
        }
    }
}

/// Forgets tars and blobs of layers that no image has any more; what they kept is free for the next collection.
///
/// # Errors
/// `Store`.
pub fn prune(store: &dyn Store, keep: &BTreeSet<DiffId>) -> Result<(), LayerError> {
    for prefix in ["tar/", "blob/"] {
        for (key, _) in store.records(RecordKind::Layer, prefix.as_bytes())? {
            let text = String::from_utf8_lossy(&key);
            let diff_id = text.split('/').nth(1).and_then(|text| text.parse().ok());
            if diff_id.is_none_or(|diff_id| !keep.contains(&diff_id)) {
                store.delete_record(RecordKind::Layer, &key)?;
            }
        }
    }
    Ok(())
}

fn foreign_key(diff_id: &DiffId) -> Vec<u8> {
    format!("tar/{diff_id}").into_bytes()
}

/// Compresses a layer into the store: one thread packs, those of the encoder compress, this one stores.
fn compressed(
    store: &Arc<dyn Store>,
    layer: &Layer,
    compression: Compression,
) -> Result<(Fact, Content), LayerError> {
    let (mut reader, writer) = io::pipe().map_err(LayerError::Write)?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut encoder = Encoder::new(compression, Digesting::new(writer));
            write_tar(store, layer, &mut encoder)?;
            let (digest, size) = encoder.finish().map_err(LayerError::Write)?.finish();
            Ok(Fact { digest, size })
        });
        let content = blob::write(store.as_ref(), &mut reader);
        drop(reader);
        let packed: Result<Fact, LayerError> = packing
            .join()
            .unwrap_or_else(|_| Err(LayerError::Write(io::Error::other("packing ended early"))));
        match (packed, content) {
            // The store's failure closes the pipe and so causes the other.
            (_, Err(error)) => Err(error.into()),
            (Err(error), _) => Err(error),
            (Ok(fact), Ok(content)) => Ok((fact, content)),
        }
    })
}
