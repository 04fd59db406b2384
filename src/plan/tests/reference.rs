//! The Dockerfile reference, case by case; each names its section.

use super::*;

#[test]
fn format_comments_and_whitespace() {
    // "Format": the comment is removed before the command is executed; leading whitespace is ignored.
    assert_eq!(
        run(&plain("FROM a\nRUN echo hello \\\n# comment\nworld")).argv[2],
        "echo hello world"
    );
    assert_eq!(
        run(&plain("        # comment\nFROM a\n    RUN echo hello\n")).argv[2],
        "echo hello"
    );
    // "Format": whitespace in arguments isn't ignored.
    assert_eq!(
        run(&plain("FROM a\nRUN echo \"\\\n     hello\\\n     world\"\n")).argv[2],
        "echo \"     hello     world\""
    );
    assert_eq!(
        run(&plain("from a\nrun echo 'some # of cool things'\n")).argv[2],
        "echo 'some # of cool things'"
    );
    // CRLF, BOM, a continuation at the end of the file.
    assert_eq!(
        run(&plain("\u{feff}FROM a\r\nRUN echo \\\r\n  b\r\n")).argv[2],
        "echo   b"
    );
    assert_eq!(run(&plain("FROM a\nRUN echo b \\")).argv[2], "echo b");
}

#[test]
fn escape_directive() {
    // "escape": with a backtick, backslashes at line ends are plain characters.
    let plan = plain("# escape=`\n\nFROM a\nCOPY testfile.txt c:\\\nRUN dir c:\\\n");
    assert_eq!(run(&plan).argv[2], "dir c:\\");
    assert_eq!(copy(&plan).sources, [CopyItem::Path("testfile.txt".into())]);
    // "escape": without it, the second and third lines are one instruction.
    let one = crate::dockerfile::parse("FROM a\nCOPY testfile.txt c:\\\\\nRUN dir c:\\\n").unwrap();
    assert_eq!(one.instructions[1].source(), "COPY testfile.txt c:\\RUN dir c:");
}

#[test]
fn environment_replacement() {
    // "Environment replacement", the parsed representations.
    let plan = plain("FROM busybox\nENV FOO=/bar\nWORKDIR ${FOO}\nADD . $FOO\nCOPY \\$FOO /quux\n");
    assert_eq!(plan.config.working_dir, "/bar");
    assert_eq!(copy(&plan).sources, [CopyItem::Path("$FOO".into())]);
    assert!(
        plan.vertices
            .iter()
            .any(|v| matches!(&v.op, Op::Copy(op) if op.add && op.destination == "/bar"))
    );
    // The same value throughout the entire instruction.
    let plan = plain("FROM a\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n");
    assert_eq!(env(&plan.config.env, "def"), Some("hello"));
    assert_eq!(env(&plan.config.env, "ghi"), Some("bye"));
    // Each instruction of the list.
    let plan = plain(
        "FROM a\nENV V=1 U=SIGINT\nEXPOSE 8$V\nLABEL k$V=v$V\nSTOPSIGNAL $U\nUSER u$V\nVOLUME /v$V [\"x\"]\nCMD echo $V\n",
    );
    assert!(plan.config.exposed_ports.contains_key("81/tcp"));
    assert_eq!(plan.config.labels["k1"], "v1");
    assert_eq!(
        (plan.config.stop_signal.as_str(), plan.config.user.as_str()),
        ("SIGINT", "u1")
    );
    assert!(plan.config.volumes.contains_key("/v1"));
    assert_eq!(plan.config.cmd.unwrap()[2], "echo $V");
}

#[test]
fn exec_form_is_json() {
    // "Exec form", "Backslashes": invalid JSON is shell form.
    let argv = |line: &str| run(&plain(&format!("FROM a\n{line}\n"))).argv.clone();
    assert_eq!(argv("RUN [\"echo\", \"$HOME\"]"), ["echo", "$HOME"]);
    assert_eq!(
        argv(r#"RUN ["c:\\windows\\tasklist.exe"]"#),
        [r"c:\windows\tasklist.exe"]
    );
    assert_eq!(
        argv(r#"RUN ["c:\windows\system32\tasklist.exe"]"#)[2],
        r#"["c:\windows\system32\tasklist.exe"]"#
    );
    assert_eq!(argv("RUN ['echo', 'x']")[2], "['echo', 'x']");
    assert_eq!(argv("RUN [ -d /x ] || mkdir /x")[2], "[ -d /x ] || mkdir /x");
    assert_eq!(
        argv("SHELL [\"/bin/bash\", \"-c\"]\nRUN echo hello"),
        ["/bin/bash", "-c", "echo hello"]
    );
}

#[test]
fn arg_and_from() {
    // "Understand how ARG and FROM interact".
    let plan =
        plain("ARG VERSION=latest\nFROM busybox:$VERSION\nARG VERSION\nRUN echo $VERSION > image_version\n");
    assert!(
        plan.vertices[0]
            .name
            .ends_with("FROM docker.io/library/busybox:latest")
    );
    assert_eq!(env(&run(&plan).env, "VERSION"), Some("latest"));
    // Outside of a stage it can't be used after a FROM.
    assert_eq!(env(&run(&plain("ARG V=1\nFROM a\nRUN x\n")).env, "V"), None);
    let plan = build(
        "ARG  CODE_VERSION=latest\nFROM base:${CODE_VERSION}\n",
        with_arg("CODE_VERSION", "2"),
    );
    assert!(plan.vertices[0].name.ends_with("base:2"));
}

#[test]
fn arg_scope() {
    // "Scope".
    let text = "FROM busybox\nUSER ${username:-some_user}\nRUN one\nARG username\nUSER $username\nRUN two\n";
    let plan = build(text, with_arg("username", "what_user"));
    let users: Vec<_> = plan
        .vertices
        .iter()
        .filter_map(|v| {
            if let Op::Run(op) = &v.op {
                Some(op.user.as_str())
            } else {
                None
            }
        })
        .collect();
    assert_eq!(users, ["some_user", "what_user"]);
    // Inherited by stages based on the stage, not by others.
    let plan = plain("FROM a AS x\nARG V=1\nFROM x\nRUN x\n");
    assert_eq!(env(&run(&plan).env, "V"), Some("1"));
    let plan = plain("FROM a AS x\nARG V=1\nRUN x\nFROM a\nCOPY --from=x /x /x\nRUN y\n");
    assert_eq!(env(&run(&plan).env, "V"), None);
}

#[test]
fn env_over_arg() {
    // "Using ARG variables".
    let text = "FROM ubuntu\nARG CONT_IMG_VER\nENV CONT_IMG_VER=v1.0.0\nRUN echo $CONT_IMG_VER\n";
    let plan = build(text, with_arg("CONT_IMG_VER", "v2.0.1"));
    assert_eq!(env(&run(&plan).env, "CONT_IMG_VER"), Some("v1.0.0"));
    let text =
        "FROM ubuntu\nARG CONT_IMG_VER\nENV CONT_IMG_VER=${CONT_IMG_VER:-v1.0.0}\nRUN echo $CONT_IMG_VER\n";
    assert_eq!(env(&plain(text).config.env, "CONT_IMG_VER"), Some("v1.0.0"));
    let plan = build(text, with_arg("CONT_IMG_VER", "v2.0.1"));
    assert_eq!(env(&plan.config.env, "CONT_IMG_VER"), Some("v2.0.1"));
    // ENV always overrides ARG, wherever they stand, the base's too.
    assert_eq!(
        env(&run(&plain("FROM a\nENV X=1\nARG X=2\nRUN x\n")).env, "X"),
        Some("1")
    );
}

#[test]
fn predefined_args_leave_no_trace() {
    // "Predefined ARGs".
    let text = "FROM ubuntu\nRUN echo \"Hello World\"\n";
    let plan = build(text, with_arg("HTTP_PROXY", "http://user:pass@proxy"));
    assert_eq!(
        plan.proxy,
        [
            "HTTP_PROXY=http://user:pass@proxy",
            "http_proxy=http://user:pass@proxy"
        ]
    );
    let mut other = plain(text);
    other.proxy.clone_from(&plan.proxy);
    assert_eq!(plan, other);
    let plan = build(
        "FROM ubuntu\nARG HTTP_PROXY\nRUN x\n",
        with_arg("HTTP_PROXY", "p"),
    );
    assert_eq!(env(&run(&plan).env, "HTTP_PROXY"), Some("p"));
    assert_eq!(
        plan.history[1].created_by,
        "RUN |1 HTTP_PROXY=p /bin/sh -c x # buildkit"
    );
}

#[test]
fn platform_args() {
    // "Automatic platform ARGs in the global scope".
    let text = "FROM --platform=$BUILDPLATFORM golang AS b\nARG TARGETPLATFORM\nARG TARGETARCH TARGETVARIANT\nRUN x\n";
    let plan = build(text, |input| input.platform = Platform::new("linux", "arm", "v7"));
    assert_eq!(env(&run(&plan).env, "TARGETPLATFORM"), Some("linux/arm/v7"));
    assert_eq!(env(&run(&plan).env, "TARGETVARIANT"), Some("v7"));
    assert_eq!(env(&run(&plan).env, "BUILDPLATFORM"), None);
    assert_eq!(run(&plan).platform, platform());
    assert_eq!(plan.platform, platform());
    // The same reference on two platforms is two images.
    let plan = build(
        "FROM --platform=linux/arm64 a AS x\nFROM a\nCOPY --from=x /x /x\n",
        |_| {},
    );
    assert_eq!(
        plan.vertices
            .iter()
            .filter(|v| matches!(v.op, Op::Image(_)))
            .count(),
        2
    );
    // "BuildKit built-in build args".
    let plan = build("FROM a\nRUN x\n", with_arg("SOURCE_DATE_EPOCH", "1700000000"));
    assert_eq!(plan.source_date_epoch, Some(1_700_000_000));
    assert!(run(&plan).env.iter().all(|entry| !entry.starts_with("SOURCE")));
    let plan = build("FROM a\nRUN x\n", with_arg("BUILDKIT_SANDBOX_HOSTNAME", "here"));
    assert_eq!(plan.hostname.as_deref(), Some("here"));
}

#[test]
fn labels_and_env_spellings() {
    // "LABEL".
    let plan = plain(
        "FROM a\nLABEL \"com.example.vendor\"=\"ACME Incorporated\"\nLABEL description=\"This text illustrates \\\nthat label-values can span multiple lines.\"\n\
         LABEL multi.label1=\"value1\" \\\n      multi.label2=\"value2\" \\\n      other=\"value3\"\nLABEL single='$x'\n",
    );
    assert_eq!(plan.config.labels["com.example.vendor"], "ACME Incorporated");
    assert_eq!(
        plan.config.labels["description"],
        "This text illustrates that label-values can span multiple lines."
    );
    assert_eq!(plan.config.labels["other"], "value3");
    assert_eq!(plan.config.labels["single"], "$x");
    // "ENV", the alternative syntax.
    let plan = plain("FROM a\nENV ONE TWO= THREE=world\nENV MY_VAR my  value\n");
    assert_eq!(env(&plan.config.env, "ONE"), Some("TWO= THREE=world"));
    assert_eq!(env(&plan.config.env, "MY_VAR"), Some("my  value"));
    // Labels of the command line come last.
    let plan = build("FROM a\nLABEL a=1 b=2\n", |input| {
        drop(input.labels.insert("b".into(), "3".into()));
    });
    assert_eq!(
        (plan.config.labels["a"].as_str(), plan.config.labels["b"].as_str()),
        ("1", "3")
    );
}

#[test]
fn workdir_is_relative_to_the_last() {
    // "WORKDIR".
    assert_eq!(
        run(&plain("FROM a\nWORKDIR /a\nWORKDIR b\nWORKDIR c\nRUN pwd\n")).cwd,
        "/a/b/c"
    );
    let plan = plain("FROM a\nENV DIRPATH=/path\nWORKDIR $DIRPATH/$DIRNAME\nRUN pwd\n");
    assert_eq!(run(&plan).cwd, "/path");
    // The root is there already: no layer.
    let plan = plain("FROM a\nWORKDIR /\n");
    assert_eq!((plan.chain.len(), plan.config.working_dir.as_str()), (0, "/"));
    assert_eq!(
        plan.history,
        [PlannedHistory {
            created_by: "WORKDIR /".into(),
            vertex: None
        }]
    );
}

#[test]
fn cmd_and_entrypoint_interact() {
    // "Understand how CMD and ENTRYPOINT interact".
    let base = |input: &mut PlanInput| {
        let platform = input.platform.clone();
        let op = ImageOp {
            reference: "docker.io/library/base:latest".into(),
            platform,
        };
        let words = |word: &str| Some(vec![word.to_owned()]);
        let config = RunConfig {
            cmd: words("old"),
            entrypoint: words("e"),
            ..RunConfig::default()
        };
        input.bases.insert(op, image(config));
    };
    let config = |text: &str| build(text, base).config;
    assert_eq!(config("FROM base\nENTRYPOINT [\"new\"]\n").cmd, None);
    assert_eq!(
        config("FROM base\nCMD [\"mine\"]\nENTRYPOINT [\"new\"]\n")
            .cmd
            .unwrap(),
        ["mine"]
    );
    assert_eq!(
        config("FROM base\nENTRYPOINT [\"new\"]\nCMD [\"mine\"]\n")
            .cmd
            .unwrap(),
        ["mine"]
    );
    assert_eq!(config("FROM base\nCMD [\"mine\"]\n").entrypoint.unwrap(), ["e"]);
    assert_eq!(config("FROM base\nENTRYPOINT []\n").entrypoint, None);
    assert_eq!(
        config("FROM base\nENTRYPOINT exec top -b\n").entrypoint.unwrap(),
        ["/bin/sh", "-c", "exec top -b"]
    );
    // A CMD of the stage that this one is based on is the base's too.
    assert_eq!(
        config("FROM base AS x\nCMD [\"mine\"]\nFROM x\nENTRYPOINT [\"new\"]\n").cmd,
        None
    );
    // "Shell form ENTRYPOINT example": `--` ends flags.
    assert_eq!(
        config("FROM base\nCMD -- --ignored-param1\n").cmd.unwrap()[2],
        "--ignored-param1"
    );
}

#[test]
fn copy_flags() {
    let op = |line: &str| copy(&plain(&format!("FROM a\nARG MODE=440\nWORKDIR /w\n{line}\n"))).clone();
    // "COPY --chmod".
    assert_eq!(op("COPY --chmod=$MODE . .").chmod, Some(Chmod::Octal(0o440)));
    assert_eq!(
        op("COPY --chmod=u=rwX,go=rX . /app/").chmod,
        Some(Chmod::Symbolic("u=rwX,go=rX".into()))
    );
    // "COPY --chown".
    assert_eq!(
        op("COPY --chown=55:mygroup files* /somedir/").chown.as_deref(),
        Some("55:mygroup")
    );
    // "COPY --parents", "COPY --exclude", "COPY --link".
    let parents = op("COPY --parents --exclude=*.txt --exclude=*.md --link ./x/./y/*.c /parents/");
    assert!(parents.parents && parents.link);
    assert_eq!(parents.exclude, ["*.txt", "*.md"]);
    assert_eq!(parents.sources, [CopyItem::Path("x/./y/*.c".into())]);
    assert!(!op("COPY --link=false a b").link);
    // "Destination".
    assert_eq!(op("COPY test.txt rel/").destination, "/w/rel/");
    assert_eq!(op("COPY [\"a b\", \"c d\"]").destination, "/w/c d");
    // "ADD --unpack", "ADD --checksum".
    let add = op("ADD --unpack=false my-archive.tar.gz .");
    assert!(add.add && !add.unpack && !add.unpack_downloads);
    assert!(op("ADD --unpack=true https://example.com/archive.tar.gz /download").unpack_downloads);
    let digest = "sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d";
    let add = op(&format!(
        "ADD --checksum={digest} https://example.com/linux-0.01.tar.gz /"
    ));
    assert_eq!(add.checksum.as_deref(), Some(digest));
}

#[test]
fn expose_expands_into_several_ports() {
    let plan = plain("FROM a\nENV PORTS=\"80 443/udp\"\nEXPOSE $PORTS 22\n");
    assert_eq!(
        plan.config.exposed_ports.keys().collect::<Vec<_>>(),
        ["22/tcp", "443/udp", "80/tcp"]
    );
}

#[test]
fn from_scratch_has_a_root_and_a_path() {
    let plan = plain("FROM scratch\nCOPY a /\n");
    assert_eq!(plan.config.working_dir, "/");
    assert!(env(&plan.config.env, "PATH").is_some());
    assert_eq!((plan.base, plan.chain.len()), (None, 1));
}
