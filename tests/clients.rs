//! What Silt exports, judged by the programs that people use: skopeo, umoci, podman, Docker.

use std::process::Command;

use crate::scene::dockerd::Dockerd;
use crate::scene::{Scene, run, tool};

/// Several layers with what archives get wrong: removed and replaced entries, links, odd modes and owners.
const DOCKERFILE: &str = r#"
FROM debian
RUN mkdir -p /old/deep && echo x > /old/deep/x && echo gone > /gone && ln -s gone /link
RUN rm /gone && rm -r /old && mkdir /old && echo new > /old/new
RUN ln /etc/passwd /passwd && install -m 4755 -o 12345 /bin/true "/a name with spaces" && mkfifo /fifo && touch -d @1.25 /past
ENV KEY=value
WORKDIR /work
LABEL some=label
CMD ["sh", "-c", "test ! -e /gone && test ! -e /old/deep && cat /old/new && test /etc/passwd -ef /passwd && echo $KEY $PWD"]
"#;
const PRINTS: &str = "new\nvalue /work\n";

fn built() -> Scene {
    let scene = Scene::debian();
    let context = scene.context("app", DOCKERFILE);
    scene.build("app", &context);
    scene
}

/// Builds again (from the cache) with an output; returns its path.
fn output(scene: &Scene, kind: &str) -> String {
    let path = scene.path(&format!("app-{kind}.tar")).display().to_string();
    let output = format!("type={kind},dest={path}");
    scene
        .silt([
            "build".as_ref(),
            "-t".as_ref(),
            "app".as_ref(),
            "--output".as_ref(),
            output.as_ref(),
            scene.path("app").as_os_str(),
        ])
        .ok();
    path
}

#[test]
fn skopeo_and_umoci_accept_the_oci_layout() {
    let scene = built();
    let archive = output(&scene, "oci");
    let layout = scene.path("layout").display().to_string();
    tool(
        "skopeo",
        [
            "--insecure-policy",
            "copy",
            &format!("oci-archive:{archive}"),
            &format!("oci:{layout}:app"),
        ],
    );
    let inspected: serde_json::Value = serde_json::from_str(&tool(
        "skopeo",
        ["inspect", "--config", &format!("oci:{layout}:app")],
    ))
    .unwrap();
    assert_eq!(inspected["config"]["Labels"]["some"], "label");
    assert_eq!(inspected["config"]["WorkingDir"], "/work");
    let layers = inspected["rootfs"]["diff_ids"].as_array().unwrap().len();
    let history = inspected["history"].as_array().unwrap();
    assert_eq!(
        history
            .iter()
            .filter(|entry| entry["empty_layer"] != true)
            .count(),
        layers,
        "{history:#?}"
    );

    let bundle = scene.path("bundle").display().to_string();
    tool("umoci", ["unpack", "--image", &format!("{layout}:app"), &bundle]);
    let rootfs = format!("{bundle}/rootfs");
    let listed = tool(
        "sh",
        [
            "-c",
            &format!(
                "cd {rootfs} && stat -c '%n %F %a %u %Y %h' 'a name with spaces' fifo past passwd && readlink link && ls old"
            ),
        ],
    );
    let expected = "a name with spaces regular file 4755 12345";
    assert!(listed.starts_with(expected), "{listed}");
    assert!(listed.contains("fifo fifo 644"), "{listed}");
    assert!(listed.contains("past regular empty file 644 0 1 1"), "{listed}");
    assert!(listed.ends_with("gone\nnew\n"), "{listed}");
    run(Command::new("umount").args(["-q", &rootfs]));
}

#[test]
fn podman_loads_and_runs_it() {
    let scene = built();
    // podman takes no run root of more than 50 characters.
    let folder = tempfile::Builder::new()
        .prefix("silt-podman-")
        .tempdir_in("/var/tmp")
        .unwrap();
    let root = folder.path().join("root").display().to_string();
    let runroot = folder.path().join("run").display().to_string();
    let podman = |arguments: &[&str]| {
        let options = [
            "--root",
            &root,
            "--runroot",
            &runroot,
            "--storage-driver",
            "vfs",
            "--runtime",
            "runc",
        ];
        let quiet = ["--cgroup-manager", "cgroupfs", "--events-backend", "none"];
        run(Command::new("podman").args(options).args(quiet).args(arguments))
    };
    for kind in ["docker", "oci"] {
        let loaded = podman(&["load", "-i", &output(&scene, kind)]).ok().stdout;
        let image = loaded.trim_end().rsplit_once(' ').unwrap().1.to_owned();
        // Its default limits are above what some machines let root have.
        let limits = ["--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000"];
        let ran = podman(&[&["run", "--rm", "--network", "host"], &limits[..], &[&image]].concat()).ok();
        assert_eq!(ran.stdout, PRINTS, "{kind}");
        podman(&["rmi", "-f", &image]).ok();
    }
}

#[test]
fn docker_loads_and_runs_it_and_silt_loads_it_back() {
    let scene = built();
    let dockerd = Dockerd::start();
    let archive = scene.path("app.tar").display().to_string();
    scene.silt(["save", "-o", &archive, "app"]).ok();
    let loaded = dockerd.docker(["load", "-i", &archive]);
    assert!(loaded.contains("Loaded image: app:latest"), "{loaded}");
    assert_eq!(
        dockerd
            .docker(["image", "inspect", "--format", "{{.Id}}", "app"])
            .trim_end(),
        scene.id("app")
    );
    assert_eq!(
        dockerd.docker(["run", "--rm", "--network", "host", "app"]),
        PRINTS
    );
    let built_by_type = output(&scene, "docker");
    dockerd.docker(["load", "-i", &built_by_type]);

    // Back: what Docker saved is the same image to Silt.
    let saved = scene.path("saved.tar").display().to_string();
    dockerd.docker(["save", "-o", &saved, "app"]);
    let id = scene.id("app");
    scene.silt(["rmi", "app"]).ok();
    scene.silt(["load", "-i", &saved]).ok();
    assert_eq!(scene.id("app"), id);
    assert_eq!(scene.silt(["run", "--rm", "app"]).ok().stdout, PRINTS);
}

#[test]
fn the_same_build_exports_the_same_bytes() {
    let scene = built();
    let first = std::fs::read(output(&scene, "oci")).unwrap();
    let second = std::fs::read(output(&scene, "oci")).unwrap();
    assert!(first == second, "two exports of one image differ");
}
