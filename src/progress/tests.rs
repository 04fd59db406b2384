use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A clock that goes on by a quarter of a second each time it is read.
fn clock() -> Clock {
    let reads = Mutex::new(0);
    Box::new(move || {
        let mut reads = reads.lock().unwrap();
        *reads += 1;
        Duration::from_millis(250 * *reads)
    })
}

fn events() -> Vec<Event> {
    let v = VertexId;
    let out = |vertex, text: &str| Event::Output {
        vertex: v(vertex),
        stream: Stream::Stdout,
        text: text.to_owned(),
    };
    let names = [
        "[1/4] FROM debian",
        "[2/4] RUN make",
        "[3/4] RUN test",
        "[4/4] COPY . .",
    ];
    let work = |done, finished| Event::Work {
        what: "sealing".to_owned(),
        done,
        total: Some(5_000_000),
        unit: "bytes".to_owned(),
        finished,
    };
    vec![
        Event::Planned {
            vertices: names.map(str::to_owned).to_vec(),
        },
        Event::Cached { vertex: v(0) },
        Event::Started { vertex: v(1) },
        Event::Started { vertex: v(2) },
        out(1, "one\ntwo"),
        out(2, "test 10%\rtest 100%\n"),
        out(1, " and more\n"),
        Event::Finished {
            vertex: v(1),
            duration: Duration::from_millis(1234),
        },
        work(0, false),
        work(1_000_000, false),
        work(5_000_000, true),
        Event::Warning {
            message: "this is deprecated".to_owned(),
        },
        out(2, "last words"),
        Event::Failed {
            vertex: v(2),
            duration: Duration::from_secs(61),
            message: "exit status 2".to_owned(),
        },
    ]
}

#[test]
fn plain_reads_as_buildkits() {
    let buffer = Buffer::default();
    let plain = plain::Plain::new(Box::new(buffer.clone()), clock());
    for event in events() {
        plain.event(event);
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("plain_progress", buffer.text());
    });
}

#[test]
fn json_lines_follow_their_schema() {
    let schema: serde_json::Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let buffer = Buffer::default();
    let json = json::Json::new(Box::new(buffer.clone()), clock());
    for event in events() {
        json.event(event);
    }
    let text = buffer.text();
    assert_eq!(text.lines().count(), events().len());
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{line}: {errors:?}");
    }
    assert!(!validator.is_valid(&serde_json::json!({ "type": "unknown", "time": 1 })));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("json_progress", text);
    });
}

#[test]
fn a_live_display_says_the_same() {
    let buffer = Buffer::default();
    {
        let tty = tty::Tty::new(Box::new(buffer.clone()), false);
        for event in events() {
            tty.event(event);
        }
    }
    let text = buffer.text();
    for expected in [
        "1 step cached",
        "[2/4] RUN make",
        "1.2s",
        "ERROR",
        "exit status 2",
        "last words",
        "this is deprecated",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text:?}");
    }
    let is_colour = |sequence: &str| {
        sequence
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
            .starts_with('m')
    };
    assert!(
        !text.split("\u{1b}[").skip(1).any(is_colour),
        "colours without being asked: {text:?}"
    );
}

#[test]
fn quiet_is_quiet_and_broken_writers_are_left_alone() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let buffer = Buffer::default();
    let quiet = render(Kind::Quiet, Box::new(buffer.clone()));
    for event in events() {
        quiet.event(event);
    }
    assert_eq!(buffer.text(), "");
    for (kind, name) in Kind::ALL {
        assert_eq!(name.parse(), Ok(kind));
        let sink = render(kind, Box::new(Broken));
        for event in events() {
            sink.event(event);
        }
    }
    assert!("Tty".parse::<Kind>().is_err());
}
