//! What a build gave becomes an image: the history of its steps, put on the base's layers and history.
//!
//! Creation times are those of the cache records, so a fully cached rebuild has the same config, byte for byte; an
//! instruction without a layer has the time of the step before it.

use std::sync::Arc;

use silt_store::{Store, Time};

use crate::images::{Assembly, Image, ImageError};
use crate::oci::config::History;
use crate::plan::Plan;
use crate::solve::Built;

/// The image that `plan` describes and `built` fills. Nothing records it yet.
pub(super) fn image(
    store: &Arc<dyn Store>,
    plan: &Plan,
    built: &Built,
    base: Option<&Image>,
) -> Result<Image, ImageError> {
    let fixed = plan.source_date_epoch.map(|seconds| Time { seconds, nanos: 0 });
    let before = base.and_then(|base| base.created().map(str::to_owned));
    let mut created = before.unwrap_or_else(|| rfc3339(fixed.unwrap_or_default()));
    let mut history = Vec::new();
    let mut steps = Vec::new();
    for planned in &plan.history {
        let step = planned
            .vertex
            .and_then(|vertex| built.chain.iter().find(|step| step.vertex == vertex));
        if let Some(step) = step {
            created = rfc3339(fixed.unwrap_or(step.created));
            steps.push((step.lower, step.upper));
        }
        history.push(History {
            created: Some(created.clone()),
            created_by: planned.created_by.clone(),
            empty_layer: step.is_none(),
            ..History::default()
        });
    }
    let assembly = Assembly {
        base,
        steps,
        config: plan.config.clone(),
        history,
        platform: &plan.platform,
        author: plan.author.clone(),
        created: Some(created),
    };
    crate::images::assemble(store, assembly)
}

/// RFC 3339 with nanoseconds, as Docker writes it.
fn rfc3339(time: Time) -> String {
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    jiff::Timestamp::from_nanosecond(nanos)
        .map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| time.to_string())
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
