use super::*;

fn parsed(text: &str) -> Result<(&'static str, String), OutputError> {
    Output::parse(text).map(|output| (output.exporter().name, output.dest().to_owned()))
}

#[test]
fn output_is_parsed_as_docker_does() {
    assert_eq!(
        parsed("type=oci,dest=app.tar").unwrap(),
        ("oci", "app.tar".into())
    );
    assert_eq!(parsed("dest=out,type=local").unwrap(), ("local", "out".into()));
    assert_eq!(parsed("out/dir").unwrap(), ("local", "out/dir".into()));
    assert_eq!(parsed("-").unwrap(), ("tar", "-".into()));
    assert_eq!(
        parsed("type=docker,\"dest=a,b\"").unwrap(),
        ("docker", "a,b".into())
    );
    let named = Output::parse("type=oci,dest=-,\"name=a:1,b\",compression=zstd").unwrap();
    assert_eq!(named.names().unwrap().unwrap().len(), 2);
    assert_eq!(named.compression(), crate::oci::manifest::Compression::Zstd);
}

#[test]
fn bad_outputs_say_what_would_do() {
    for (text, message, hint) in [
        (
            "type=dokcer,dest=x",
            "no exporter `dokcer`",
            Some("did you mean docker?"),
        ),
        (
            "type=oci,dst=x",
            "takes no `dst`; it takes dest, name, compression, tar",
            Some("did you mean dest?"),
        ),
        (
            "type=oci,dest=x,compression=gz",
            "takes no `gz`",
            Some("did you mean gzip?"),
        ),
        ("dest=x", "no type", None),
        ("type=oci", "needs dest=PATH or dest=-", None),
        ("type=local,dest=-", "needs dest=PATH", None),
        ("type=oci,dest=a,dest=b", "twice", None),
        ("type=oci,dest", "no key=value", None),
        ("type=oci,\"dest=x", "quote", None),
    ] {
        let error = parsed(text).unwrap_err();
        assert!(error.to_string().contains(message), "{text}: {error}");
        assert_eq!(error.hint().as_deref(), hint, "{text}");
    }
}

#[test]
fn exporters_are_named_once_and_all_take_a_destination() {
    for exporter in EXPORTERS {
        assert_eq!(
            EXPORTERS
                .iter()
                .filter(|other| other.name == exporter.name)
                .count(),
            1
        );
        assert!(
            exporter.keys.iter().any(|key| key.name == "dest"),
            "{}",
            exporter.name
        );
    }
}
