//! Stages: targets, triggers, named contexts, and what is needed of them.

use super::*;

/// The input in which `base` is an image with these triggers.
fn with_triggers(triggers: &[&str]) -> PlanInput {
    let on_build = triggers.iter().map(|trigger| (*trigger).to_owned()).collect();
    let reference = "docker.io/library/base:latest".to_owned();
    let op = ImageOp {
        reference,
        platform: platform(),
    };
    let mut input = input();
    input.bases.insert(
        op,
        image(RunConfig {
            on_build,
            ..RunConfig::default()
        }),
    );
    input
}

#[test]
fn triggers_of_a_base_run_in_child_builds() {
    // Reference, "ONBUILD".
    let triggers = ["COPY . /app/src", "RUN make --dir /app/src", "COPY <<E /x\nhi\nE"];
    let plan = plan_with("FROM base\nRUN after\n", with_triggers(&triggers)).unwrap();
    let names: Vec<_> = plan.vertices.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "[1/5] FROM docker.io/library/base:latest",
            "[2/5] ONBUILD COPY . /app/src",
            "[3/5] ONBUILD RUN make --dir /app/src",
            "[4/5] ONBUILD COPY <<E /x",
            "[5/5] RUN after",
        ]
    );
    assert_eq!(plan.vertices[1].lines, Some(Lines { first: 1, last: 1 }));
    // Cleared after being executed.
    assert!(plan.config.on_build.is_empty());
    // An error shows the FROM that runs the trigger.
    let error = plan_with("FROM base\n", with_triggers(&["COYP a b"])).unwrap_err();
    assert_eq!(
        error,
        "Dockerfile:1:6: ONBUILD trigger \"COYP a b\" of docker.io/library/base:latest: unknown instruction COYP\n  |\n\
         1 | FROM base\n  |      ^^^^\n  = hint: did you mean COPY?\n"
    );
}

#[test]
fn triggers_of_a_stage_run_in_the_stages_based_on_it() {
    assert_eq!(
        plain("FROM a\nONBUILD COPY <<E /x\nhi\nE\n").config.on_build,
        ["COPY <<E /x\nhi\nE"]
    );
    let plan = plain("FROM a AS b\nONBUILD RUN x\nFROM b\n");
    assert!(matches!(&plan.vertices[1].op, Op::Run(op) if op.argv[2] == "x"));
    assert!(plan.config.on_build.is_empty());
    // Reference, "Copy or mount from stage, image, or context": what a trigger names is resolved here.
    let plan = plain(
        "FROM a AS base\nONBUILD COPY --from=build /usr/bin/app /app\nFROM b AS build\nRUN x\nFROM base\n",
    );
    assert_eq!(
        plan.vertices
            .iter()
            .filter(|v| matches!(v.op, Op::Image(_)))
            .count(),
        2
    );
}

#[test]
fn triggers_may_need_further_images() {
    let dockerfile = crate::dockerfile::parse("FROM base\n").unwrap();
    let mut input = input();
    let first = base_images(&dockerfile, &input).unwrap();
    assert_eq!(first.len(), 1);
    let on_build = vec!["COPY --from=other /a /b".to_owned()];
    input.bases.insert(
        first[0].clone(),
        image(RunConfig {
            on_build,
            ..RunConfig::default()
        }),
    );
    let second = base_images(&dockerfile, &input).unwrap();
    assert_eq!(second[0].reference, "docker.io/library/other:latest");
    input.bases.insert(second[0].clone(), image(RunConfig::default()));
    assert_eq!(base_images(&dockerfile, &input).unwrap(), []);
    assert!(plan(&dockerfile, &input).is_ok());
}

#[test]
fn targets_and_unused_stages() {
    let text = "FROM a AS one\nRUN 1\nFROM b AS two\nRUN 2\nFROM c AS three\nRUN 3\n";
    let mut target = input();
    target.target = Some("Two".into());
    let dockerfile = crate::dockerfile::parse(text).unwrap();
    let images = base_images(&dockerfile, &target).unwrap();
    assert_eq!(
        images.iter().map(|op| op.reference.as_str()).collect::<Vec<_>>(),
        ["docker.io/library/b:latest"]
    );
    assert_eq!(plan_with(text, target).unwrap().vertices.len(), 2);
    let mut missing = input();
    missing.target = Some("tow".into());
    assert_eq!(
        plan_with(text, missing).unwrap_err(),
        "Dockerfile: no stage is named \"tow\"\n = hint: did you mean two?\n"
    );
    // An error in a stage that isn't needed is an error all the same.
    assert!(plan_with("FROM a\nRUNN x\nFROM b\n", input()).is_err());
}

#[test]
fn caches_may_be_ignored_by_stage() {
    let text = "FROM a AS one\nRUN 1\nFROM b AS two\nRUN 2\nCOPY --from=one /x /x\n";
    let ignored = |plan: &Plan| plan.vertices.iter().map(|v| v.ignore_cache).collect::<Vec<_>>();
    let plan = build(text, |input| input.no_cache_filter = vec!["ONE".into()]);
    assert_eq!(ignored(&plan), [false, true, false, false, false]);
    let plan = build(text, |input| input.no_cache = true);
    assert_eq!(ignored(&plan), [false, true, false, true, true]);
}

#[test]
fn named_contexts_replace_stages_and_images() {
    let text = "FROM base AS b\nRUN x\nFROM alpine\nCOPY --from=b /x /x\nCOPY --from=files a /a\n";
    let plan = build(text, |input| {
        input
            .contexts
            .insert("b".into(), NamedContext::Image("other:1".into()));
        input.contexts.insert("files".into(), NamedContext::Files);
        input
            .contexts
            .insert("alpine".into(), NamedContext::Image("debian".into()));
    });
    let images: Vec<_> = plan
        .vertices
        .iter()
        .filter_map(|v| {
            if let Op::Image(op) = &v.op {
                Some(op.reference.as_str())
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        images,
        ["docker.io/library/debian:latest", "docker.io/library/other:1"]
    );
    assert_eq!(copy(&plan).from, CopySource::Context("files".into()));
}

#[test]
fn targets_and_outlines_describe_a_dockerfile() {
    // docker's build command, "Descriptions".
    let text = "# syntax=docker/dockerfile:1\n\n# GO_VERSION sets the Go version for the build\nARG GO_VERSION=1.22\n\n\
        # base-builder is the base stage for building the project\nFROM golang:${GO_VERSION} AS base-builder\n\
        # other words\nARG OTHER=\"a b\" GO_VERSION\n\
        RUN --mount=type=secret,id=token --mount=type=secret,target=/run/token,required \\\n  \
        --mount=type=ssh --mount=type=cache,target=/root/.cache/ make\n\
        FROM alpine\nARG UNUSED\nFROM base-builder\nARG HERE\n";
    let dockerfile = parse(text).unwrap();
    let mut input = input();
    input.build_args.insert("OTHER".into(), Some("given".into()));
    let shown = serde_json::to_string_pretty(&(
        targets(&dockerfile, &input).unwrap(),
        outline(&dockerfile, &input).unwrap(),
    ));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("outline", shown.unwrap());
    });
}

#[test]
fn every_mount_parses_and_those_without_an_executor_are_refused() {
    let message = |mount: &str| {
        let text = format!("FROM a\nRUN --mount={mount} true\n");
        plan_with(&text, input()).map_err(|error| error.lines().next().unwrap_or_default().to_owned())
    };
    for (mount, kind) in [
        (
            "type=cache,target=/x,id=i,sharing=locked,mode=0700,uid=1,gid=2,from=b,source=/s,ro",
            "cache",
        ),
        (
            "type=secret,id=aws,target=/root/.aws/credentials,mode=0440,uid=1,gid=1,required",
            "secret",
        ),
        ("type=secret,id=API_KEY,env=API_KEY", "secret"),
        ("type=ssh,id=default,target=/x,required=true,mode=0600", "ssh"),
    ] {
        let expected = format!("Dockerfile:2:5: RUN --mount=type={kind} is not supported yet");
        assert_eq!(message(mount).unwrap_err(), expected, "{mount}");
    }
    for mount in [
        "",
        "type=bind",
        "target=/",
        "type=bind,target=/x,mode=1",
        "type=tmpfs,target=/x,size=big",
        "target",
    ] {
        assert!(message(mount).is_err(), "{mount}");
    }
}

#[test]
fn names_stay_on_one_line() {
    let mut input = input();
    input.build_args.insert("X".into(), Some("a\nb\u{1b}[2J".into()));
    let plan = plan_with("FROM a\nARG X\nCOPY $X /x\n", input).unwrap();
    assert_eq!(plan.vertices[1].name, "[2/2] COPY a b [2J /x");
}
