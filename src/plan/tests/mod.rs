mod hostile;
mod lint;
mod reference;
mod stages;

use std::fmt::Write as _;

use super::*;
use crate::dockerfile::parse;
use crate::oci::config::RootFs;

fn platform() -> Platform {
    Platform::new("linux", "amd64", "")
}

fn input() -> PlanInput {
    PlanInput {
        build_platform: platform(),
        ..PlanInput::new(platform())
    }
}

fn image(config: RunConfig) -> BaseImage {
    BaseImage {
        config: ImageConfig {
            created: None,
            author: String::new(),
            architecture: "amd64".into(),
            os: "linux".into(),
            variant: String::new(),
            config,
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: vec!["sha256:0".into()],
            },
            history: Vec::new(),
        },
    }
}

/// Gives every image that is asked for an empty config.
fn resolve(dockerfile: &crate::dockerfile::Dockerfile, input: &mut PlanInput) -> Result<(), PlanError> {
    for op in base_images(dockerfile, input)? {
        input.bases.insert(op, image(RunConfig::default()));
    }
    Ok(())
}

fn plan_with(text: &str, mut input: PlanInput) -> Result<Plan, String> {
    let dockerfile = parse(text).map_err(|error| error.render("Dockerfile", text))?;
    resolve(&dockerfile, &mut input).map_err(|error| error.render("Dockerfile", text))?;
    plan(&dockerfile, &input).map_err(|error| error.render("Dockerfile", text))
}

fn build(text: &str, change: impl FnOnce(&mut PlanInput)) -> Plan {
    let mut input = input();
    change(&mut input);
    plan_with(text, input).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn plain(text: &str) -> Plan {
    build(text, |_| {})
}

fn with_arg(name: &str, value: &str) -> impl FnOnce(&mut PlanInput) {
    let (name, value) = (name.to_owned(), Some(value.to_owned()));
    move |input| drop(input.build_args.insert(name, value))
}

/// The last RUN.
fn run(plan: &Plan) -> &RunOp {
    plan.vertices
        .iter()
        .rev()
        .find_map(|vertex| {
            if let Op::Run(op) = &vertex.op {
                Some(op)
            } else {
                None
            }
        })
        .expect("a RUN")
}

fn copy(plan: &Plan) -> &CopyOp {
    plan.vertices
        .iter()
        .rev()
        .find_map(|vertex| {
            if let Op::Copy(op) = &vertex.op {
                Some(op)
            } else {
                None
            }
        })
        .expect("a COPY")
}

fn env<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter()
        .find_map(|entry| entry.split_once('=').filter(|(n, _)| *n == name))
        .map(|(_, value)| value)
}

/// A plan as a reviewer wants to read it.
fn show(plan: &Plan) -> String {
    let mut out = String::new();
    for (i, vertex) in plan.vertices.iter().enumerate() {
        let inputs: Vec<_> = vertex
            .inputs
            .iter()
            .map(|edge| edge.vertex.0.to_string())
            .collect();
        let _ = writeln!(out, "{i} ({}) {}", inputs.join(" "), vertex.name);
        let _ = writeln!(out, "    {:?}", vertex.op);
    }
    let _ = writeln!(
        out,
        "result {} base {:?} chain {:?}",
        plan.result.0,
        plan.base.map(|v| v.0),
        plan.chain
    );
    for entry in &plan.history {
        let vertex = entry.vertex.map_or("-".to_owned(), |v| v.0.to_string());
        let _ = writeln!(out, "history {vertex} {}", entry.created_by);
    }
    let _ = writeln!(
        out,
        "config {}",
        serde_json::to_string_pretty(&plan.config).unwrap()
    );
    out
}

fn snapshot(name: &str, text: &str) {
    let shown = plan_with(text, input()).map_or_else(|error| error, |plan| show(&plan));
    insta::with_settings!({ description => text, omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, shown);
    });
}

#[test]
fn plans_of_whole_dockerfiles() {
    snapshot(
        "every_instruction",
        r#"# syntax=docker/dockerfile:1
ARG TAG=12
FROM debian:$TAG
MAINTAINER someone
LABEL "com.example.vendor"="ACME Incorporated" version=1.0
ENV MY_NAME="John Doe" MY_DOG=Rex\ The\ Dog \
    MY_CAT=fluffy
ARG VERSION=1 EMPTY
WORKDIR /app
WORKDIR src
COPY --chown=1:2 --chmod=u=rwX a b* ./
ADD archive.tar.gz https://example.com/x.tar /opt/
RUN apt-get update && \
    # a comment
    apt-get install -y $MY_CAT
RUN ["echo", "hi"]
USER nobody:nogroup
EXPOSE 80 53/udp 8000-8001
VOLUME /data /b
SHELL ["/bin/bash", "-c"]
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5m --timeout=3s CMD curl -f http://localhost/ || exit 1
ONBUILD RUN make
ENTRYPOINT ["top", "-b"]
CMD echo $MY_NAME
"#,
    );
    snapshot(
        "stages",
        "FROM golang AS Build\nWORKDIR /src\nCOPY . .\nRUN go build -o /out\n\
         FROM build AS unused\nRUN false\n\
         FROM alpine AS assets\nCOPY --from=0 /src/assets /assets\n\
         FROM scratch\nCOPY --from=build /out /bin/app\nCOPY --from=assets /assets /assets\n\
         COPY --from=nginx:latest /etc/nginx/nginx.conf /nginx.conf\nCMD [\"/bin/app\"]\n",
    );
    snapshot("from_scratch", "FROM scratch\nCMD [\"x\"]\n");
    snapshot(
        "inherited_stage",
        "FROM debian AS base\nARG A=1\nENV B=2\nRUN one\nCMD [\"old\"]\nFROM base\nRUN two $A\nENTRYPOINT [\"e\"]\n",
    );
    snapshot(
        "heredocs",
        "FROM debian\nARG FOO=bar\nRUN <<EOF\necho one\necho two\nEOF\nRUN <<EOT\n#!/usr/bin/env python3\nprint(1)\nEOT\n\
         RUN <<A cat > a && <<-B cat > b\n$FOO\nA\n\tb\n\tB\n\
         COPY <<-EOT <<'raw.txt' /dir/\n\techo \"hello ${FOO}\"\n\tEOT\n${FOO}\nraw.txt\n",
    );
    snapshot(
        "mounts",
        "FROM debian AS tools\nFROM debian\nWORKDIR /w\nARG DIR=in\n\
         RUN --mount=target=. --mount=type=bind,from=tools,source=/usr,dst=/tools,rw \\\n  \
         --mount=type=bind,from=busybox,src=bin/$DIR,target=rel/$DIR --mount=type=tmpfs,target=/tmp,size=64m \\\n  \
         --network=none true\n",
    );
}

/// One mistake each.
const MISTAKES: &[&str] = &[
    "",
    "# only a comment\n",
    "FROM debian\nRUNN make\n",
    "FROM debian\nCOPY --form=x a b\n",
    "FROM debian\nCOPY --from a b\n",
    "FROM debian\nCOPY --from=a --from=b a b\n",
    "FROM debian\nCOPY --link=maybe a b\n",
    "FROM debian\nENV --x=y a=b\n",
    "RUN make\nFROM debian\n",
    "ARG A=1\n",
    "FROM\n",
    "FROM a b c\n",
    "FROM a AS 1x\n",
    "FROM debian:$TAG-slim$\nFROM ${NONE}\n",
    "FROM Debian\n",
    "FROM --platform=linux/amd64/v1/x debian\n",
    "FROM debian AS build\nFROM debian\nCOPY --from=Biuld: a b\n",
    "FROM debian AS one\nCOPY --from=later a b\nFROM debian AS later\nFROM one\n",
    "FROM debian AS a\nCOPY --from=b x y\nFROM a AS b\nRUN x\n",
    "FROM debian AS a\nCOPY --from=a x y\n",
    "FROM debian\nCOPY --from=1 x y\n",
    "FROM debian\nCOPY --from=$X x y\n",
    "FROM debian\nCOPY a\n",
    "FROM debian\nCOPY a b /c\n",
    "FROM debian\nVOLUME []\n",
    "FROM debian\nCOPY [\"a\", 1]\n",
    "FROM debian\nCOPY https://example.com/x /x\n",
    "FROM debian\nCOPY x <<EOF\nEOF\n",
    "FROM debian\nCOPY --chmod=999 a b\n",
    "FROM debian\nCOPY --exclude=[ a b\n",
    "FROM debian\nADD --checksum=sha256:1 https://example.com/x /x\n",
    "FROM debian\nADD git@github.com:moby/buildkit.git /x\n",
    "FROM debian\nENV a\n",
    "FROM debian\nENV a=b c\n",
    "FROM debian\nLABEL =x\n",
    "FROM debian\nENV A='b\n",
    "FROM debian\nENV A=1 \\\n  B=\"${C:?pass --build-arg C}\"\n",
    "FROM debian\nRUN\n",
    "FROM debian\nRUN <<EOF\nmake\n EOF\n",
    "FROM debian\nRUN --mount=type=bin,target=/x true\n",
    "FROM debian\nRUN --mount=type=bind,targt=/x true\n",
    "FROM debian\nRUN --mount=type=tmpfs,target=/x,sharing=locked true\n",
    "FROM debian\nRUN --mount=type=tmpfs,size=1 true\n",
    "FROM debian\nRUN --mount=type=cache,target=/x true\n",
    "FROM debian\nRUN --network=some true\n",
    "FROM debian\nRUN --security=insecure true\n",
    "FROM debian\nEXPOSE 80/icmp\n",
    "FROM debian\nSTOPSIGNAL SIGNOTHING\n",
    "FROM debian\nSHELL /bin/bash -c\n",
    "FROM debian\nHEALTHCHECK curl\n",
    "FROM debian\nHEALTHCHECK --interval=5 CMD x\n",
    "FROM debian\nHEALTHCHECK NONE x\n",
    "FROM debian\nONBUILD\n",
    "FROM debian\nONBUILD ONBUILD RUN x\n",
    "FROM debian\nONBUILD FROM x\n",
    "FROM debian\nONBUILD CPOY a b\n",
    "# escape=x\nFROM debian\n",
    "# escape=`\n# escape=`\nFROM debian\n",
];

#[test]
fn errors_show_the_place_and_a_way_out() {
    let mut out = String::new();
    for text in MISTAKES {
        let error = plan_with(text, input()).map_or_else(|error| error, |_| "no error\n".to_owned());
        let _ = writeln!(out, "{text:?}\n{error}");
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("plan_errors", out);
    });
}
