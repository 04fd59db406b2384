//! What a build gave becomes an image's config: the base's layers and history, then those of the steps.
//!
//! Pure. Creation times are those of the cache records, so a fully cached rebuild has the same config, byte for byte; an
//! instruction without a layer has the time of the step before it.

use silt_store::Time;

use crate::layer::Layer;
use crate::oci::config::{History, ImageConfig, RootFs};
use crate::plan::Plan;
use crate::solve::Built;

/// The config of the image that `plan` describes and `built` and `layers` (of its chain) fill.
pub(super) fn assemble(plan: &Plan, built: &Built, base: Option<&ImageConfig>, layers: &[Layer]) -> ImageConfig {
    let fixed = plan.source_date_epoch.map(|seconds| Time { seconds, nanos: 0 });
    let base_created = base.and_then(|base| base.created.clone());
    let mut created = base_created.clone().unwrap_or_else(|| rfc3339(fixed.unwrap_or_default()));
    let mut history = base.map_or_else(Vec::new, |base| base.history.clone());
    for planned in &plan.history {
        if let Some(step) = planned.vertex.and_then(|vertex| built.chain.iter().find(|step| step.vertex == vertex)) {
            created = rfc3339(fixed.unwrap_or(step.created));
        }
        history.push(History {
            created: Some(created.clone()),
            created_by: planned.created_by.clone(),
            author: plan.author.clone(),
            comment: String::new(),
            empty_layer: planned.vertex.is_none(),
        });
    }
    let mut diff_ids = base.map_or_else(Vec::new, |base| base.rootfs.diff_ids.clone());
    diff_ids.extend(layers.iter().map(|layer| layer.diff_id.to_string()));
    ImageConfig {
        created: Some(created),
        author: plan.author.clone(),
        architecture: plan.platform.architecture.clone(),
        os: plan.platform.os.clone(),
        variant: plan.platform.variant.clone(),
        config: plan.config.clone(),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids,
        },
        history,
    }
}

/// RFC 3339 with nanoseconds, as Docker writes it.
pub(crate) fn rfc3339(time: Time) -> String {
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    jiff::Timestamp::from_nanosecond(nanos).map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        let time = |seconds, nanos| rfc3339(Time { seconds, nanos });
        assert_eq!(time(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_700_000_000, 123_000_000), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(-1, 0), "1969-12-31T23:59:59Z");
    }
}
