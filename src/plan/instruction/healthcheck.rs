//! `HEALTHCHECK`: how to see whether a container is healthy.

use super::{Definition, FlagDefinition, flag, invalid, no_sources, some_arguments};
use crate::dockerfile::{self, Form, Instruction};
use crate::oci::config::Healthcheck;
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::history::{duration, plain};
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "HEALTHCHECK",
    summary: "Sets the command that checks a container's health, or none.",
    synopsis: &["HEALTHCHECK [OPTIONS] CMD COMMAND", "HEALTHCHECK NONE"],
    flags: &[
        FlagDefinition::value("interval", "DURATION", "time between checks (30s)"),
        FlagDefinition::value("timeout", "DURATION", "time one check may take (30s)"),
        FlagDefinition::value("start-period", "DURATION", "time before failures count (0s)"),
        FlagDefinition::value(
            "start-interval",
            "DURATION",
            "time between checks in the start period (5s)",
        ),
        FlagDefinition::value("retries", "N", "failures in a row that mean unhealthy (3)"),
    ],
    layer: false,
    trigger: true,
    check: |instruction, _| healthcheck(instruction).map(drop),
    apply,
    sources: no_sources,
};

/// Durations that Docker takes for a mistake are below this.
const SHORTEST: u64 = 1_000_000;

fn healthcheck(instruction: &Instruction) -> Result<Healthcheck, PlanError> {
    let expected = "CMD and a command, or NONE";
    some_arguments(instruction, "HEALTHCHECK", expected)?;
    let arguments = instruction.arguments();
    let (kind, rest) = arguments
        .split_once(char::is_whitespace)
        .unwrap_or((arguments, ""));
    let rest = rest.trim_start();
    let wrong = || {
        PlanErrorKind::Arguments {
            instruction: "HEALTHCHECK",
            expected,
        }
        .at(instruction.arguments_span())
    };
    if kind.eq_ignore_ascii_case("none") {
        let conflict = PlanErrorKind::Conflict {
            message: "HEALTHCHECK NONE takes no flags and no arguments",
        };
        return if rest.is_empty() && instruction.flags.is_empty() {
            Ok(Healthcheck {
                test: vec!["NONE".to_owned()],
                ..Healthcheck::default()
            })
        } else {
            Err(conflict.at(instruction.arguments_span()))
        };
    }
    if !kind.eq_ignore_ascii_case("cmd") || rest.is_empty() {
        return Err(wrong());
    }
    let test = match dockerfile::form(rest) {
        Form::Exec(words) if words.is_empty() => return Err(wrong()),
        Form::Exec(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
        Form::Shell(command) => vec!["CMD-SHELL".to_owned(), command],
        Form::NotStrings => {
            return Err(PlanErrorKind::NotStrings {
                instruction: "HEALTHCHECK",
            }
            .at(instruction.arguments_span()));
        }
    };
    Ok(Healthcheck {
        test,
        interval: time(instruction, "interval")?,
        timeout: time(instruction, "timeout")?,
        start_period: time(instruction, "start-period")?,
        start_interval: time(instruction, "start-interval")?,
        retries: retries(instruction)?,
    })
}

fn time(instruction: &Instruction, name: &str) -> Result<u64, PlanError> {
    let Some((value, span)) =
        flag(instruction, name).and_then(|flag| Some((flag.value.as_deref()?, flag.span)))
    else {
        return Ok(0);
    };
    match parse_duration(value) {
        Some(nanos) if nanos == 0 || nanos >= SHORTEST => Ok(nanos),
        _ => Err(invalid(
            &format!("--{name}"),
            value,
            "a duration of at least 1ms, such as 30s or 1m30s",
        )
        .at(span)),
    }
}

fn retries(instruction: &Instruction) -> Result<u64, PlanError> {
    let Some((value, span)) =
        flag(instruction, "retries").and_then(|flag| Some((flag.value.as_deref()?, flag.span)))
    else {
        return Ok(0);
    };
    let number = value
        .parse::<u64>()
        .ok()
        .filter(|number| i32::try_from(*number).is_ok());
    number.ok_or_else(|| invalid("--retries", value, "a number, 0 or more").at(span))
}

/// Go's durations: `1h2m3.5s`, `300ms`; in nanoseconds.
fn parse_duration(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(scale)?)?;
        let mut place = scale;
        for digit in fraction.bytes() {
            place /= 10;
            total = total.checked_add(u64::from(digit.checked_sub(b'0')?) * place)?;
        }
        rest = after;
    }
    i64::try_from(total).is_ok().then_some(total)
}

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let check = healthcheck(instruction)?;
    step.state.push_history(format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        plain(&check.test),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries,
    ));
    step.state.config.healthcheck = Some(check);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse_duration;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("5m", Some(300_000_000_000)),
            ("1h2m3.5s", Some(3_723_500_000_000)),
            ("300ms", Some(300_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("5", None),
            ("", None),
            ("s", None),
            (".s", None),
            ("-5s", None),
            ("5x", None),
            ("1.2.3s", None),
            ("99999999999h", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
