//! `pull`, and the images that builds and containers stand on.

use crate::engine::Engine;
use crate::engine::call::Call;
use crate::engine::error::EngineError;
use crate::engine::outcome::Outcome;
use crate::images::Image;

impl Engine {
    pub(super) fn pull(&self, _image: &str, _platform: Option<&str>, _call: &Call) -> Result<Outcome, EngineError> {
        Err(EngineError::Protocol { problem: "pull: not yet" })
    }

    pub(super) fn pull_image(&self, text: &str, _platform: Option<&str>, _call: &Call) -> Result<Image, EngineError> {
        Err(EngineError::NoSuch { text: text.to_owned() })
    }

    pub(super) fn base_image(&self, op: &crate::plan::ImageOp, _pull: bool, _sink: &std::sync::Arc<dyn crate::progress::Sink>, _cancel: &crate::solve::Cancel) -> Result<Image, EngineError> {
        Ok(self.images.find(&op.reference)?)
    }
}
