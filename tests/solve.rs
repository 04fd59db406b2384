//! Plans performed on a real Debian base: steps in containers, copies from a context, the cache. In one process, without an engine.
//! Needs root, /dev/fuse and a Debian base (`SILT_TEST_BASE` or the one that `.ci/install test` makes).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use silt::dockerfile::ignore::Ignore;
use silt::exec::{BaseTree, Performer, Surroundings};
use silt::layer::{self, Whiteouts};
use silt::oci::platform::Platform;
use silt::plan::{self, BaseImage, Plan, PlanInput};
use silt::progress::{Event, Sink};
use silt::sandbox::{Helper, Limits};
use silt::snapshot::{STRATEGIES, Sealer, Setup, Snapshot, strategy};
use silt::solve::{Built, Cancel, Failure, Flights, Outcome, SolveError, Solver, solve};
use silt::source::context::Context;
use silt_store::{GuestPath, Node, RocksStore, Store, TreeRef, blob, diff, root, walk};
use tempfile::TempDir;

const NEEDS: &str =
    "this test needs root, /dev/fuse and a Debian base: make one with mmdebstrap --variant=minbase bookworm";

/// Debian's tree in a store of this process, shared by its tests.
fn debian() -> &'static (Arc<dyn Store>, TreeRef) {
    static DEBIAN: OnceLock<(Arc<dyn Store>, TreeRef)> = OnceLock::new();
    DEBIAN.get_or_init(|| {
        let base = std::env::var("SILT_TEST_BASE").unwrap_or("/var/cache/silt-build/bookworm.tar".into());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("solve-store");
        let _absent = fs::remove_dir_all(&directory);
        let store: Arc<dyn Store> =
            Arc::new(RocksStore::open(&directory, silt_store::Options::default()).unwrap());
        let scratch = root::scratch(&*store).unwrap();
        let mut tar = File::open(base).expect(NEEDS);
        let tree = layer::unpack(&store, scratch, &mut tar, Whiteouts::Literal).unwrap();
        store.sync().unwrap();
        (store, tree)
    })
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Sink for Heard {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// A build's surroundings; each has a salt in its base's id, so that the tests' caches do not meet.
struct Bed {
    store: Arc<dyn Store>,
    debian: TreeRef,
    helper: Arc<Helper>,
    sealer: Arc<Sealer>,
    directory: TempDir,
    snapshotter: &'static str,
    flights: Flights<Outcome<Snapshot>>,
    heard: Heard,
    cancel: Cancel,
}

impl Bed {
    fn new() -> Self {
        let (store, debian) = debian();
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        fs::create_dir(directory.path().join("scratch")).unwrap();
        Self {
            store: Arc::clone(store),
            debian: *debian,
            helper: Arc::new(Helper::start(Path::new(env!("CARGO_BIN_EXE_silt"))).expect(NEEDS)),
            sealer: Arc::new(Sealer::start(2).unwrap()),
            directory,
            snapshotter: STRATEGIES[0].name,
            flights: Flights::new(),
            heard: Heard::default(),
            cancel: Cancel::new(),
        }
    }

    fn context(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.context().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn plan(dockerfile: &str, no_cache: bool) -> Plan {
        let mut input = PlanInput::new(Platform::host());
        input.no_cache = no_cache;
        let parsed = silt::dockerfile::parse(dockerfile).unwrap();
        for op in plan::base_images(&parsed, &input).unwrap() {
            let config = serde_json::from_str(
                r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
            );
            input.bases.insert(
                op,
                BaseImage {
                    config: config.unwrap(),
                },
            );
        }
        plan::plan(&parsed, &input).unwrap()
    }

    fn build(&self, dockerfile: &str) -> Result<Built, SolveError> {
        self.build_plan(&Self::plan(dockerfile, false))
    }

    fn build_plan(&self, plan: &Plan) -> Result<Built, SolveError> {
        let setup = Setup {
            store: Arc::clone(&self.store),
            scratch: self.directory.path().join("scratch"),
            sealer: Arc::clone(&self.sealer),
            threads: 2,
            max_dirty_memory: 64 << 20,
        };
        let bases = plan.vertices.iter().filter_map(|vertex| match &vertex.op {
            plan::Op::Image(image) => {
                let id = format!("{} {}", self.directory.path().display(), self.snapshotter);
                Some((
                    image.clone(),
                    BaseTree {
                        id,
                        tree: self.debian,
                    },
                ))
            }
            _ => None,
        });
        let ignore = fs::read_to_string(self.context().join(".dockerignore")).unwrap_or_default();
        let context = Context::new(
            File::open(self.context()).unwrap().into(),
            Ignore::parse(&ignore).unwrap(),
        );
        let performer = Performer::new(Surroundings {
            store: Arc::clone(&self.store),
            strategy: strategy(self.snapshotter, setup).unwrap().into(),
            helper: Arc::clone(&self.helper),
            scratch: self.directory.path().join("scratch"),
            contexts: HashMap::from([(String::new(), context)]),
            bases: bases.collect(),
            proxy: plan.proxy.clone(),
            hostname: plan.hostname.clone(),
            limits: Limits::default(),
            resolv_conf: String::new(),
        });
        let solver = Solver {
            store: &self.store,
            executor: &performer,
            sink: &self.heard,
            cancel: &self.cancel,
            flights: &self.flights,
            parallelism: NonZeroUsize::new(16).unwrap(),
        };
        solve(plan, &solver)
    }

    fn text(&self, tree: TreeRef, path: &str) -> String {
        let entry = walk::lookup(&self.store, tree, &GuestPath::parse(path.as_bytes()).unwrap()).unwrap();
        let entry = entry.unwrap_or_else(|| panic!("{path} is missing"));
        let Node::File(content) = &entry.node else {
            panic!("{path} is no file")
        };
        String::from_utf8(blob::read_all(&*self.store, content).unwrap()).unwrap()
    }

    fn changes(&self, old: TreeRef, new: TreeRef) -> Vec<String> {
        diff::diff(&self.store, old, new)
            .map(|change| change.unwrap().path.to_string())
            .collect()
    }
}

#[test]
fn needs_root_and_fuse_a_dockerfile_is_built_and_built_again_from_the_cache() {
    let bed = Bed::new();
    bed.write("main.sh", "#!/bin/sh\necho hello\n");
    bed.write("data/one", "1");
    let dockerfile = "FROM debian\nWORKDIR /app\nCOPY . .\nRUN sh main.sh > said && id -u >> said && chmod 4711 main.sh\n\
                      USER www-data\nRUN test \"$(id -un)\" = www-data && test $HOME = /var/www && cat /app/said\nUSER root\n\
                      RUN rm -r data && ln said linked\n";
    let built = bed.build(dockerfile).unwrap();
    assert_eq!((built.performed, built.cached), (5, 0));
    assert_eq!(bed.text(built.result, "/app/said"), "hello\n0\n");
    let steps = &built.chain;
    assert_eq!(bed.changes(steps[0].lower, steps[0].upper), ["/app"]);
    assert_eq!(
        bed.changes(steps[1].lower, steps[1].upper),
        ["/app/data", "/app/data/one", "/app/main.sh"]
    );
    assert_eq!(
        bed.changes(steps[2].lower, steps[2].upper),
        ["/app", "/app/main.sh", "/app/said"]
    );
    assert!(
        bed.changes(steps[3].lower, steps[3].upper).is_empty(),
        "no mount point, no time stays"
    );
    assert_eq!(
        bed.changes(steps[4].lower, steps[4].upper),
        ["/app", "/app/data", "/app/linked", "/app/said"]
    );
    for pair in steps.windows(2) {
        assert_eq!(pair[0].upper, pair[1].lower);
    }
    let heard = std::mem::take(&mut *bed.heard.0.lock().unwrap());
    assert!(
        heard
            .iter()
            .any(|event| matches!(event, Event::Output { text, .. } if text == "hello\n0\n"))
    );
    let again = bed.build(dockerfile).unwrap();
    assert_eq!((again.performed, again.cached), (0, 5));
    let pairs = |built: &Built| {
        built
            .chain
            .iter()
            .map(|step| (step.lower, step.upper, step.created))
            .collect::<Vec<_>>()
    };
    assert_eq!(pairs(&again), pairs(&built));
    // Another file in the context, left out: nothing runs. Touched: nothing runs. Changed: the copy and what follows.
    bed.write(".dockerignore", "*.log\n.dockerignore\n");
    bed.write("x.log", "x");
    bed.write("data/one", "1");
    assert_eq!(bed.build(dockerfile).unwrap().performed, 0);
    bed.write("data/one", "2");
    let changed = bed.build(dockerfile).unwrap();
    assert_eq!((changed.performed, changed.cached), (4, 1));
    let forced = bed.build_plan(&Bed::plan(dockerfile, true)).unwrap();
    assert_eq!((forced.performed, forced.cached), (5, 0));
}

#[test]
fn needs_root_and_fuse_a_failed_step_is_reported_and_kept() {
    let bed = Bed::new();
    let error = bed
        .build("FROM debian\nRUN echo before > /left; echo out; echo err >&2; exit 3\n")
        .unwrap_err();
    let SolveError::Vertex {
        failure:
            Failure::Command {
                exit,
                reason,
                output,
                kept,
            },
        lines,
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((exit, reason.as_str()), (3, "exit status 3"));
    assert!(output.contains("out\n") && output.contains("err\n"), "{output}");
    assert_eq!(lines.unwrap().first, 2);
    let kept = kept.expect("the filesystem is kept");
    assert_eq!(bed.text(kept, "/left"), "before\n");
    let error = bed
        .build("FROM debian\nCOPY nothing /\nRUN sleep 100\n")
        .unwrap_err();
    let SolveError::Vertex { failure, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.to_string(), "`nothing` not found");
    bed.write(".dockerignore", "secret\n");
    bed.write("secret", "x");
    let error = bed.build("FROM debian\nCOPY secret /\n").unwrap_err();
    let SolveError::Vertex { failure, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        failure.to_string(),
        "`secret` is left out of the build context by its ignore file"
    );
}

#[test]
fn needs_root_and_fuse_a_cancelled_build_ends_its_steps_and_keeps_nothing() {
    let bed = Bed::new();
    std::thread::scope(|scope| {
        let build =
            scope.spawn(|| bed.build("FROM debian\nRUN echo here; sleep infinity & sleep infinity\n"));
        while !bed
            .heard
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|event| matches!(event, Event::Output { .. }))
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        bed.cancel.cancel();
        assert!(matches!(build.join().unwrap(), Err(SolveError::Cancelled)));
    });
    assert_eq!(
        fs::read_dir(bed.directory.path().join("scratch"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn needs_root_and_fuse_stages_run_at_once_and_copies_need_no_owner() {
    let bed = Bed::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // No step goes on before all four are there.
    std::thread::spawn(move || {
        let steps: Vec<_> = (0..4).map(|_| listener.accept().unwrap().0).collect();
        for mut step in steps {
            step.write_all(b"go\n").unwrap();
        }
    });
    let stage = |n: u8| {
        let meet = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && read -r -t 60 <&3");
        format!(
            "FROM debian AS s{n}\nRUN [\"bash\", \"-c\", \"{meet} && echo {n} > /made && chown 33:33 /made\"]\n"
        )
    };
    let mut dockerfile: String = (1..=4).map(stage).collect();
    dockerfile.push_str("FROM scratch\n");
    let copies: Vec<_> = (1..=4)
        .map(|n| format!("COPY --from=s{n} /made /from/{n}"))
        .collect();
    dockerfile.push_str(&copies.join("\n"));
    let built = bed.build(&dockerfile).unwrap();
    assert_eq!(bed.text(built.result, "/from/3"), "3\n");
    let path = GuestPath::parse(b"/from/3").unwrap();
    let entry = walk::lookup(&bed.store, built.result, &path).unwrap().unwrap();
    assert_eq!(
        (entry.meta.uid, entry.meta.gid),
        (33, 33),
        "COPY --from keeps owners, as Docker does"
    );
}

#[test]
fn needs_root_and_fuse_mounts_show_trees_and_drop_writes() {
    let bed = Bed::new();
    bed.write("src/file", "context");
    let built = bed
        .build(
            "FROM debian AS made\nRUN mkdir /out && echo stage > /out/file\nFROM debian\n\
             RUN --mount=type=bind,source=src,target=/src --mount=type=bind,from=made,source=/out,target=/out,rw \
             --mount=type=tmpfs,target=/t cat /src/file /out/file > /read; echo x > /out/more && touch /t/y; ! touch /src/z\n\
             RUN <<EOF\nset -e\necho from a heredoc > /heredoc\nEOF\n",
        )
        .unwrap();
    assert_eq!(bed.text(built.result, "/read"), "contextstage\n");
    assert_eq!(bed.text(built.result, "/heredoc"), "from a heredoc\n");
    assert_eq!(
        bed.changes(built.chain[0].lower, built.chain[0].upper),
        ["/", "/read"]
    );
}

#[test]
fn needs_root_and_fuse_every_strategy_builds_the_same() {
    let mut contents = Vec::new();
    for one in STRATEGIES {
        let mut bed = Bed::new();
        bed.snapshotter = one.name;
        bed.write("file", "x");
        let built = bed
            .build(
                "FROM debian\nCOPY file /\nRUN cp -a /etc /copy && rm -r /usr/share/doc && ln -s x /link\n",
            )
            .unwrap();
        contents.push(built.result.content);
    }
    assert!(contents.windows(2).all(|pair| pair[0] == pair[1]), "{contents:?}");
}

#[test]
fn needs_root_and_fuse_steps_that_change_nothing_leave_their_tree() {
    let bed = Bed::new();
    bed.build("FROM debian\nRUN true\n").unwrap();
    let steps: Vec<_> = (0..50).map(|n| format!("RUN true {n}")).collect();
    let dockerfile = format!("FROM debian\n{}", steps.join("\n"));
    let built = bed.build(&dockerfile).unwrap();
    assert_eq!(built.performed, 50);
    assert!(built.chain.iter().all(|step| step.lower == step.upper));
    assert_eq!(bed.build(&dockerfile).unwrap().performed, 0);
}
