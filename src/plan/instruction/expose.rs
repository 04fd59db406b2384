//! `EXPOSE`: the ports that containers listen on. Documentation only.

use super::{Definition, invalid, no_sources, some_arguments};
use crate::dockerfile::Instruction;
use crate::oci::config::Empty;
use crate::plan::error::PlanError;
use crate::plan::history;
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "EXPOSE",
    summary: "Declares the ports that containers listen on.",
    synopsis: &["EXPOSE PORT[-PORT][/PROTOCOL] ..."],
    flags: &[],
    layer: false,
    trigger: true,
    check: |instruction, _| some_arguments(instruction, "EXPOSE", "at least one port"),
    apply,
    sources: no_sources,
};

const EXPECTED: &str = "PORT[-PORT][/tcp|/udp|/sctp], ports between 0 and 65535";

/// The ports of a specification as `80/tcp`; `None` when it is none. A host's part (`127.0.0.1:80:80`) is checked and dropped.
fn ports(text: &str) -> Option<Vec<String>> {
    let (host, container) = match text.rsplit_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, text),
    };
    let (range, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let protocol = if protocol.is_empty() {
        "tcp".to_owned()
    } else {
        protocol.to_ascii_lowercase()
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = port_range(range)?;
    if let Some(host) = host {
        check_host(host, last - first)?;
    }
    Some((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn check_host(text: &str, length: u16) -> Option<()> {
    let (address, port) = match text.rsplit_once(':') {
        Some((address, port)) => (Some(address), port),
        None => (None, text),
    };
    if let Some(address) = address {
        let address = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(address);
        if !address.is_empty() {
            address.parse::<std::net::IpAddr>().ok()?;
        }
    }
    if !port.is_empty() {
        let (first, last) = port_range(port)?;
        if length != 0 && last - first != length {
            return None;
        }
    }
    Some(())
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        if text.starts_with('+') {
            None
        } else {
            text.parse().ok()
        }
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let mut exposed = Vec::new();
    for word in instruction.blank_words() {
        for text in step.expand_word(instruction, &word)?.words {
            let ports = ports(&text);
            let span = instruction.span_of(word.range.clone());
            exposed.extend(ports.ok_or_else(|| invalid("EXPOSE", &text, EXPECTED).at(span))?);
        }
    }
    step.state
        .push_history(format!("EXPOSE {}", history::plain(&exposed)));
    step.state
        .config
        .exposed_ports
        .extend(exposed.into_iter().map(|port| (port, Empty {})));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::ports;

    #[test]
    fn ports_have_ranges_and_protocols() {
        assert_eq!(ports("80").unwrap(), ["80/tcp"]);
        assert_eq!(ports("80/UDP").unwrap(), ["80/udp"]);
        assert_eq!(
            ports("8000-8002/sctp").unwrap(),
            ["8000/sctp", "8001/sctp", "8002/sctp"]
        );
        assert_eq!(ports("127.0.0.1:80:81").unwrap(), ["81/tcp"]);
        assert_eq!(ports("[::1]:80:81").unwrap(), ["81/tcp"]);
        assert_eq!(ports("0-65535").unwrap().len(), 65536);
        for text in [
            "",
            "x",
            "80/",
            "80/icmp",
            "65536",
            "-1",
            "81-80",
            "80-",
            "1.2.3:80:80",
            "80:81-83:1-9/tcp",
            "+80",
        ] {
            if text == "80/" {
                assert_eq!(ports(text).unwrap(), ["80/tcp"]);
            } else {
                assert!(ports(text).is_none(), "{text}");
            }
        }
    }
}
