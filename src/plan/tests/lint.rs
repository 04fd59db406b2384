//! The build checks, by the examples of their reference: what each rule says of bad ones, and silence about good ones.

use super::*;
use crate::dockerfile::ignore::Ignore;
use crate::plan::lint::{RULES, Report, Warning, lint};

fn report(text: &str) -> Report {
    let dockerfile = parse(text).unwrap();
    let mut input = input();
    input.build_args.insert("TAG".into(), Some("latest".into()));
    resolve(&dockerfile, &mut input).unwrap();
    let ignore = Ignore::parse("*/tmp/*\n/tmp\n").unwrap();
    lint(&dockerfile, &input, Some(&ignore))
        .unwrap_or_else(|error| panic!("{}", error.render("Dockerfile", text)))
}

/// A rule and a Dockerfile that it, and no other, warns about.
const BAD: &[(&str, &str)] = &[
    ("StageNameCasing", "FROM alpine AS BuilderBase\n"),
    ("FromAsCasing", "FROM debian:latest as builder\n"),
    ("NoEmptyContinuation", "FROM alpine\nEXPOSE \\\n\n80\n"),
    (
        "ConsistentInstructionCasing",
        "FROM alpine\nRUN echo hello > /greeting.txt\nEntRYpOiNT [\"cat\", \"/greeting.txt\"]\n",
    ),
    ("ConsistentInstructionCasing", "from alpine\nrun x\nRUN y\n"),
    (
        "DuplicateStageName",
        "FROM debian:latest AS builder\nRUN x\nFROM golang:latest AS builder\n",
    ),
    ("ReservedStageName", "FROM alpine AS scratch\n"),
    ("ReservedStageName", "FROM alpine AS context\n"),
    (
        "JSONArgsRecommended",
        "FROM alpine\nENTRYPOINT my-program start\n",
    ),
    (
        "MaintainerDeprecated",
        "FROM scratch\nMAINTAINER moby@example.com\n",
    ),
    ("UndefinedArgInFrom", "FROM node:22${VARIANT} AS jsbuilder\n"),
    ("UndefinedArgInFrom", "FROM alpine:3${BUILDARHC}\n"),
    (
        "WorkdirRelativePath",
        "FROM nginx AS web\nWORKDIR usr/share/nginx/html\nCOPY public .\n",
    ),
    ("UndefinedVar", "FROM alpine AS base\nCOPY $foo .\n"),
    ("UndefinedVar", "FROM alpine AS base\nARG VERSION=$foo\n"),
    ("UndefinedVar", "FROM alpine\nENV PATH=$PAHT:/app/bin\n"),
    (
        "MultipleInstructionsDisallowed",
        "FROM alpine\nENTRYPOINT [\"echo\", \"Hello, Norway!\"]\nENTRYPOINT [\"echo\", \"Hello, Sweden!\"]\n",
    ),
    (
        "LegacyKeyValueFormat",
        "FROM alpine\nENV DEPS \\\n    curl \\\n    git\n",
    ),
    (
        "RedundantTargetPlatform",
        "FROM --platform=$TARGETPLATFORM alpine AS builder\n",
    ),
    (
        "SecretsUsedInArgOrEnv",
        "FROM scratch\nARG AWS_SECRET_ACCESS_KEY\n",
    ),
    ("SecretsUsedInArgOrEnv", "FROM scratch\nENV DB_PASSWORD=x\n"),
    ("InvalidDefaultArgInFrom", "ARG TAG\nFROM busybox:${TAG}\n"),
    (
        "FromPlatformFlagConstDisallowed",
        "FROM --platform=linux/amd64 alpine AS base\n",
    ),
    (
        "CopyIgnoredFile",
        "FROM scratch\nCOPY ./x/tmp/helloworld.txt /helloworld.txt\n",
    ),
    ("ExposeProtoCasing", "FROM alpine\nEXPOSE 80/TcP\n"),
    ("ExposeInvalidFormat", "FROM alpine\nEXPOSE 127.0.0.1:80:80\n"),
    (
        "InvalidDefinitionDescription",
        "# check=experimental=all\n# a comment\nFROM scratch AS base\n",
    ),
];

/// Dockerfiles that no rule warns about.
const GOOD: &[&str] = &[
    "FROM debian:latest AS deb-builder\nFROM golang:latest AS go-builder\n",
    "from debian:latest as deb-builder\n",
    "FROM alpine\nEXPOSE \\\n# Port\n80\n",
    "FROM alpine\nENTRYPOINT [\"my-program\", \"start\"]\n",
    "FROM alpine\nSHELL [\"/bin/bash\", \"-c\"]\nENTRYPOINT echo \"hello world\"\n",
    "ARG VARIANT=\"-alpine3.20\"\nFROM node:22${VARIANT} AS jsbuilder\n",
    "ARG TAG=latest\nFROM busybox:${TAG}\n",
    "ARG VARIANT\nFROM busybox:stable${VARIANT}\n",
    "ARG TAG\nFROM alpine:${TAG:-3.14}\n",
    "FROM nginx AS web\nWORKDIR /usr/share/nginx/html\nWORKDIR sub\nCOPY public .\n",
    "FROM alpine AS base\nARG foo\nCOPY $foo .\n",
    "FROM alpine\nENV LD_LIBRARY_PATH=/x${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\n",
    "FROM python:alpine\nHEALTHCHECK --interval=1s CMD [\"curl\"]\nCMD [\"python\"]\n",
    "FROM alpine\nARG foo=bar\nENV DEPS=\"\\\n    curl\"\n",
    "FROM --platform=${BUILDPLATFORM} alpine AS base\n",
    "FROM --platform=linux/amd64 alpine AS build_amd64\n",
    "FROM scratch\nENV PUBLIC_KEY=x KEYBOARD=y\n",
    "FROM scratch\nCOPY ./forever/helloworld.txt /helloworld.txt\nCOPY . /\n",
    "FROM alpine\nEXPOSE 80/tcp\n",
    "# a comment\nFROM scratch AS base\n",
    "# check=experimental=all\n# base is a stage\nFROM scratch AS base\n# VERSION This is the version number.\nARG VERSION=1\n",
    "# check=skip=all\nFrom alpine as x\nMAINTAINER x\n",
    "# check=skip=MaintainerDeprecated\nFROM alpine\nMAINTAINER x\n",
];

#[test]
fn bad_examples_are_warned_about() {
    let mut out = String::new();
    for (rule, text) in BAD {
        let report = report(text);
        let found: Vec<_> = report.warnings.iter().map(|warning| warning.rule).collect();
        assert_eq!(found, [*rule], "{text}");
        let _ = writeln!(out, "{}", report.warnings[0].render("Dockerfile", text));
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("lint_warnings", out);
    });
}

#[test]
fn good_examples_are_not() {
    for text in GOOD {
        let warnings: Vec<_> = report(text).warnings.iter().map(Warning::summary).collect();
        assert!(warnings.is_empty(), "{text}: {warnings:?}");
    }
}

#[test]
fn every_rule_has_an_example_and_a_page() {
    for rule in RULES {
        let has_example = BAD.iter().any(|(name, _)| *name == rule.name);
        assert!(has_example, "{}", rule.name);
    }
    let url = |name: &str| RULES.iter().find(|rule| rule.name == name).unwrap().url();
    assert_eq!(
        url("JSONArgsRecommended"),
        "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
    );
    assert_eq!(
        url("SecretsUsedInArgOrEnv"),
        "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/"
    );
}

#[test]
fn warnings_may_be_errors() {
    assert!(report("# check=error=true\nFROM a\nMAINTAINER x\n").fails());
    assert!(!report("# check=skip=MaintainerDeprecated;error=true\nFROM a\nMAINTAINER x\n").fails());
    assert!(!report("FROM a\nMAINTAINER x\n").fails());
    for text in [
        "# check=error=maybe\nFROM a\n",
        "# check=skip=jsonargsrecommended\nFROM a\n",
        "# check=skp=x\nFROM a\n",
    ] {
        assert!(lint(&parse(text).unwrap(), &input(), None).is_err(), "{text}");
    }
}
