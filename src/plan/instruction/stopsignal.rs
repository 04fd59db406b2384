//! `STOPSIGNAL`: the signal that stops containers.

use super::{Definition, expand_argument, invalid, no_sources, some_arguments};
use crate::dockerfile::Instruction;
use crate::plan::error::PlanError;
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "STOPSIGNAL",
    summary: "Sets the signal that stops containers.",
    synopsis: &["STOPSIGNAL SIGNAL"],
    flags: &[],
    layer: false,
    trigger: true,
    check: |instruction, _| some_arguments(instruction, "STOPSIGNAL", "exactly one argument"),
    apply,
    sources: no_sources,
};

const NAMES: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Whether a text is a signal's number or name, with or without SIG.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str| rest.parse::<u8>().is_ok_and(|offset| (1..=15).contains(&offset));
    NAMES.contains(&name)
        || name.strip_prefix("RTMIN+").is_some_and(offset)
        || name
            .strip_prefix("RTMAX-")
            .is_some_and(|rest| rest.parse::<u8>().is_ok_and(|offset| (1..=14).contains(&offset)))
}

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let signal = expand_argument(step, instruction)?;
    if !is_signal(&signal) {
        let kind = invalid(
            "STOPSIGNAL",
            &signal,
            "a signal's name such as SIGTERM, or its number",
        );
        return Err(kind.at(instruction.arguments_span()));
    }
    step.state.push_history(format!("STOPSIGNAL {signal}"));
    step.state.config.stop_signal = signal;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_signal;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["SIGTERM", "TERM", "sigkill", "9", "64", "SIGRTMIN+3", "RTMAX-14"] {
            assert!(is_signal(text), "{text}");
        }
        for text in ["", "0", "65", "-9", "SIG", "SIGFOO", "RTMIN+16", "SIGTERM x"] {
            assert!(!is_signal(text), "{text}");
        }
    }
}
