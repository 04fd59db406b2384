//! What tells keys apart, what does not, and that the format stays.

use std::collections::HashSet;

use super::*;
use crate::oci::platform::Platform;

use crate::plan::{Chmod, ImageOp, MakeDirectoryOp};

fn platform(text: &str) -> Platform {
    Platform::parse(text).unwrap()
}

fn run() -> RunOp {
    RunOp {
        argv: vec!["sh".into(), "-c".into(), "make".into()],
        env: vec!["A=b".into()],
        cwd: "/".into(),
        user: String::new(),
        platform: platform("linux/amd64"),
        network: Network::Host,
        security: Security::Sandbox,
        extra_hosts: vec![("a".into(), "1.2.3.4".into())],
        mounts: vec![],
        files: vec![],
    }
}

fn copy() -> CopyOp {
    CopyOp {
        from: CopySource::Input,
        sources: vec![CopyItem::Path("a".into())],
        destination: "/b".into(),
        chown: None,
        chmod: None,
        unpack: false,
        unpack_downloads: false,
        add: false,
        link: false,
        parents: false,
        exclude: vec![],
        checksum: None,
    }
}

fn mounted(kind: RunMountKind, read_only: bool) -> RunOp {
    let target = "/m".into();
    RunOp {
        mounts: vec![RunMount {
            kind,
            target,
            read_only,
        }],
        ..run()
    }
}

#[expect(clippy::too_many_lines, reason = "one line for each field")]
fn runs() -> Vec<RunOp> {
    let bind = |from| RunMountKind::Bind {
        from,
        source: "1".into(),
    };
    let owner = MountOwner {
        uid: 0,
        gid: 0,
        mode: 0o755,
    };
    let cache = |sharing, from| RunMountKind::Cache {
        id: "i".into(),
        sharing,
        from,
        source: "/".into(),
        owner,
    };
    let secret = |required, env: Option<&str>| RunMountKind::Secret {
        id: "i".into(),
        required,
        env: env.map(Into::into),
        owner,
    };
    let input = MountSource::Input(1);
    vec![
        run(),
        RunOp {
            argv: vec!["sh".into(), "-c make".into()],
            ..run()
        },
        RunOp {
            env: vec!["A=c".into()],
            ..run()
        },
        RunOp {
            cwd: "/x".into(),
            ..run()
        },
        RunOp {
            user: "x".into(),
            ..run()
        },
        RunOp {
            platform: platform("linux/arm64"),
            ..run()
        },
        RunOp {
            network: Network::None,
            ..run()
        },
        RunOp {
            security: Security::Insecure,
            ..run()
        },
        RunOp {
            extra_hosts: vec![],
            ..run()
        },
        RunOp {
            files: vec![("f".into(), "x".into())],
            ..run()
        },
        mounted(RunMountKind::Tmpfs { size: 1 }, false),
        mounted(RunMountKind::Tmpfs { size: 1 }, true),
        mounted(bind(MountSource::Context(String::new())), true),
        mounted(bind(input.clone()), true),
        mounted(cache(CacheSharing::Shared, None), false),
        mounted(cache(CacheSharing::Private, None), false),
        mounted(cache(CacheSharing::Locked, None), false),
        mounted(cache(CacheSharing::Shared, Some(input)), false),
        mounted(secret(true, None), true),
        mounted(secret(false, None), true),
        mounted(secret(true, Some("")), true),
        mounted(
            RunMountKind::Ssh {
                id: "i".into(),
                required: true,
                owner,
            },
            true,
        ),
    ]
}

#[test]
#[expect(clippy::too_many_lines, reason = "one line for each field")]
fn every_field_of_an_op_tells_keys_apart() {
    let copies = [
        copy(),
        CopyOp {
            from: CopySource::Context(String::new()),
            ..copy()
        },
        CopyOp {
            sources: vec![CopyItem::Url("a".into())],
            ..copy()
        },
        CopyOp {
            sources: vec![CopyItem::Inline("a".into(), String::new())],
            ..copy()
        },
        CopyOp {
            destination: "/b/".into(),
            ..copy()
        },
        CopyOp {
            chown: Some(String::new()),
            ..copy()
        },
        CopyOp {
            chmod: Some(Chmod::Octal(0)),
            ..copy()
        },
        CopyOp {
            unpack: true,
            ..copy()
        },
        CopyOp {
            unpack_downloads: true,
            ..copy()
        },
        CopyOp { add: true, ..copy() },
        CopyOp { link: true, ..copy() },
        CopyOp {
            parents: true,
            ..copy()
        },
        CopyOp {
            exclude: vec![String::new()],
            ..copy()
        },
        CopyOp {
            checksum: Some(String::new()),
            ..copy()
        },
    ];
    let directory = |path: &str, user: &str| MakeDirectoryOp {
        path: path.into(),
        user: user.into(),
    };
    let others = [
        Op::Scratch,
        Op::MakeDirectory(directory("/a", "")),
        Op::MakeDirectory(directory("/a", "x")),
        Op::MakeDirectory(directory("/b", "")),
    ];
    let ops = runs()
        .into_iter()
        .map(Op::Run)
        .chain(copies.into_iter().map(Op::Copy))
        .chain(others);
    let ops: Vec<_> = ops.collect();
    let keys: HashSet<_> = ops.iter().map(|op| op_key(&op_parts(op))).collect();
    assert_eq!(keys.len(), ops.len());
}

#[test]
fn tags_and_context_names_stay_out() {
    let image = |reference: &str| {
        op_parts(&Op::Image(ImageOp {
            reference: reference.into(),
            platform: platform("linux/amd64"),
        }))
    };
    assert_eq!(image("a"), image("b"));
    let context = |name: &str| {
        op_parts(&Op::Copy(CopyOp {
            from: CopySource::Context(name.into()),
            ..copy()
        }))
    };
    assert_eq!(context(""), context("other"));
}

/// A change here makes every cache of every user cold: raise `VERSION` and mean it.
#[test]
fn the_format_is_fixed() {
    let parts = op_parts(&Op::Run(run()));
    let scratch = definition_key(&op_parts(&Op::Scratch), &[]);
    let keys = [
        op_key(&parts).to_string(),
        scratch.to_string(),
        definition_key(&parts, &[(scratch, 0)]).to_string(),
        content_key(&parts, &[ContentId::of(b"x")]).to_string(),
    ];
    assert_eq!(keys.map(|key| key[..16].to_owned()), FIXED);
}

const FIXED: [&str; 4] = [
    "db9f49cbbe631421",
    "666f77d795a9082e",
    "39648c2b222026ed",
    "63f0173dbd2f61d4",
];
