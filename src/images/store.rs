//! Images by name and by id.
//!
//! In: names, ids, prefixes of ids. Out: images. Effects: `RecordKind::Image` records: `id/<digest>` holds the image and its
//! trees, `name/<reference>` the id. A name always points to an image that is there: the image is written first and removed
//! last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use silt_store::{Record, RecordKind, Store, root};

use super::error::ImageError;
use super::image::Image;
use crate::layer::{Layer, packed};
use crate::oci::digest::{DiffId, ImageId};
use crate::oci::reference::Reference;

/// The images in a store. Cheap to clone; clones share the lock that orders changes.
#[derive(Clone)]
pub struct ImageStore {
    store: Arc<dyn Store>,
    changing: Arc<Mutex<()>>,
}

/// An image with all its names.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The image.
    pub image: Image,
    /// Its names with tags.
    pub names: Vec<Reference>,
    /// The manifests it was pulled by.
    pub digests: Vec<Reference>,
}

/// What a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// The image, if no name was left.
    pub deleted: Option<ImageId>,
}

impl ImageStore {
    /// The images in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            changing: Arc::default(),
        }
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Records an image, durably, and gives it `names`; another image that had one of them loses it.
    ///
    /// # Errors
    /// `Store`.
    pub fn put(&self, image: &Image, names: &[Reference]) -> Result<(), ImageError> {
        let _changing = self.lock();
        self.store
            .put_record(RecordKind::Image, &id_key(&image.id), &image.to_record())?;
        names.iter().try_for_each(|name| self.put_name(name, &image.id))
    }

    /// The image of exactly this name.
    ///
    /// # Errors
    /// `Record`, `Store`.
    pub fn get(&self, name: &Reference) -> Result<Option<Image>, ImageError> {
        match self.id_of(name)? {
            Some(id) => self.by_id(&id),
            None => Ok(None),
        }
    }

    /// The image of this id.
    ///
    /// # Errors
    /// `Record`, `Store`.
    pub fn by_id(&self, id: &ImageId) -> Result<Option<Image>, ImageError> {
        let key = id_key(id);
        let record = self.store.record(RecordKind::Image, &key)?;
        record.map(|record| Image::from_record(&key, &record)).transpose()
    }

    /// The image that a user means: a name, an id, or the beginning of an id, with `sha256:` or without.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, `Record`, `Store`.
    pub fn find(&self, text: &str) -> Result<Image, ImageError> {
        self.resolve(text).map(|(image, _)| image)
    }

    /// Every image, newest first.
    ///
    /// # Errors
    /// `Record`, `Store`.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        let mut names: BTreeMap<ImageId, Vec<Reference>> = BTreeMap::new();
        for (name, id) in self.names()? {
            names.entry(id).or_default().push(name);
        }
        let mut images = Vec::new();
        for (key, record) in self.store.records(RecordKind::Image, b"id/")? {
            let image = Image::from_record(&key, &record)?;
            let all = names.remove(&image.id).unwrap_or_default();
            let (digests, names) = all.into_iter().partition(|name| name.tag().is_none());
            images.push(Listed {
                image,
                names,
                digests,
            });
        }
        images.sort_by(|a, b| b.image.created().cmp(&a.image.created()));
        Ok(images)
    }

    /// The names of an image.
    ///
    /// # Errors
    /// `Record`, `Store`.
    pub fn names_of(&self, id: &ImageId) -> Result<Vec<Reference>, ImageError> {
        Ok(self
            .names()?
            .into_iter()
            .filter(|(_, of)| of == id)
            .map(|(name, _)| name)
            .collect())
    }

    /// Gives the image that `source` means another name.
    ///
    /// # Errors
    /// As `find`.
    pub fn tag(&self, source: &str, name: &Reference) -> Result<(), ImageError> {
        let _changing = self.lock();
        let (image, _) = self.resolve(source)?;
        self.put_name(name, &image.id)
    }

    /// Takes away a name; an image without any is removed with the layers that only it had. By id, an image with at most one
    /// name is removed, one with several only with `force`.
    ///
    /// # Errors
    /// As `find`; `SeveralNames`.
    pub fn remove(&self, text: &str, force: bool) -> Result<Removed, ImageError> {
        let _changing = self.lock();
        let (image, by_name) = self.resolve(text)?;
        let names = self.names_of(&image.id)?;
        let tagged = names.iter().filter(|name| name.tag().is_some()).count();
        let untagged = match by_name {
            Some(name) if tagged > usize::from(name.tag().is_some()) => vec![name],
            None if tagged > 1 && !force => {
                return Err(ImageError::SeveralNames {
                    id: image.id,
                    names: names.iter().map(Reference::familiar).collect(),
                });
            }
            _ => names.clone(),
        };
        for name in &untagged {
            self.store.delete_record(RecordKind::Image, &name_key(name))?;
        }
        let deleted = untagged.len() == names.len();
        if deleted {
            self.store.delete_record(RecordKind::Image, &id_key(&image.id))?;
            self.prune_layers()?;
        }
        Ok(Removed {
            untagged,
            deleted: deleted.then_some(image.id),
        })
    }

    /// Layers of some image that begin with as many of `diff_ids` as any does: they need not be unpacked again.
    ///
    /// # Errors
    /// `Record`, `Store`.
    pub fn common_layers(&self, diff_ids: &[DiffId]) -> Result<Vec<Layer>, ImageError> {
        let mut best = Vec::new();
        for (key, record) in self.store.records(RecordKind::Image, b"id/")? {
            let image = Image::from_record(&key, &record)?;
            // A layer whose lower is not the root before stands for itself only.
            let mut below = image.layers.first().map(|layer| layer.lower);
            let common = image
                .layers
                .iter()
                .zip(diff_ids)
                .take_while(|(layer, diff_id)| {
                    let continues = below == Some(layer.lower);
                    below = Some(layer.root);
                    continues && layer.diff_id == **diff_id
                })
                .count();
            if common > best.len() {
                best = image.layers;
                best.truncate(common);
            }
        }
        Ok(best)
    }

    /// The root that images without layers have, and that the lowest layer is packed against.
    ///
    /// # Errors
    /// `Store`.
    pub fn scratch(&self) -> Result<silt_store::TreeRef, ImageError> {
        Ok(root::scratch(self.store.as_ref())?)
    }

    fn prune_layers(&self) -> Result<(), ImageError> {
        let mut keep = BTreeSet::new();
        for (key, record) in self.store.records(RecordKind::Image, b"id/")? {
            let image = Image::from_record(&key, &record)?;
            keep.extend(image.layers.into_iter().map(|layer| layer.diff_id));
        }
        packed::prune(self.store.as_ref(), &keep).map_err(|error| match error {
            crate::layer::LayerError::Store(error) => error.into(),
            source => ImageError::RootFilesystem(source),
        })
    }

    fn resolve(&self, text: &str) -> Result<(Image, Option<Reference>), ImageError> {
        if let Ok(name) = Reference::parse(text)
            && let Some(image) = self.get(&name)?
        {
            return Ok((image, Some(name)));
        }
        let not_found = || ImageError::NotFound { name: text.into() };
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.is_empty()
            || !digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(not_found());
        }
        let prefix = format!("id/sha256:{digits}").into_bytes();
        match &*self.store.records(RecordKind::Image, &prefix)? {
            [] => Err(not_found()),
            [(key, record)] => Ok((Image::from_record(key, record)?, None)),
            several => Err(ImageError::Ambiguous {
                prefix: text.into(),
                count: several.len(),
            }),
        }
    }

    fn names(&self) -> Result<Vec<(Reference, ImageId)>, ImageError> {
        let records = self.store.records(RecordKind::Image, b"name/")?;
        records
            .into_iter()
            .map(|(key, record)| parse_name(&key, &record))
            .collect()
    }

    fn id_of(&self, name: &Reference) -> Result<Option<ImageId>, ImageError> {
        let key = name_key(name);
        let record = self.store.record(RecordKind::Image, &key)?;
        Ok(record
            .map(|record| parse_name(&key, &record))
            .transpose()?
            .map(|(_, id)| id))
    }

    fn put_name(&self, name: &Reference, id: &ImageId) -> Result<(), ImageError> {
        let record = Record {
            value: id.to_string().into_bytes(),
            ..Record::default()
        };
        Ok(self
            .store
            .put_record(RecordKind::Image, &name_key(name), &record)?)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data of its own: a panic elsewhere leaves nothing half-done in memory.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id_key(id: &ImageId) -> Vec<u8> {
    format!("id/{id}").into_bytes()
}

fn name_key(name: &Reference) -> Vec<u8> {
    format!("name/{name}").into_bytes()
}

fn parse_name(key: &[u8], record: &Record) -> Result<(Reference, ImageId), ImageError> {
    let text = String::from_utf8_lossy(key);
    let name = text
        .strip_prefix("name/")
        .and_then(|name| Reference::parse(name).ok());
    let id = std::str::from_utf8(&record.value)
        .ok()
        .and_then(|id| id.parse().ok());
    name.zip(id).ok_or_else(|| ImageError::Record { id: text.into() })
}
