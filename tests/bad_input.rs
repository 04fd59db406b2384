//! Bad input of every kind: a clear error with the right exit status, and a store that goes on working.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::scene::{Ran, Scene, finish};

/// Builds a Dockerfile that must fail.
fn refused(scene: &Scene, dockerfile: &str) -> Ran {
    let context = scene.context("bad", dockerfile);
    scene.silt([
        "build".as_ref(),
        "-t".as_ref(),
        "bad".as_ref(),
        context.as_os_str(),
    ])
}

/// After each error: the image from before is there and runs.
fn still_works(scene: &Scene) {
    assert_eq!(scene.shell("debian", "echo fine"), "fine\n");
    scene.silt(["inspect", "bad"]).fails(1, &["bad"]);
}

#[test]
fn dockerfiles_that_mean_nothing() {
    let scene = Scene::debian();
    let empty = scene.path("empty");
    fs::create_dir(&empty).unwrap();
    scene
        .silt(["build".as_ref(), empty.as_os_str()])
        .fails(1, &["Dockerfile", "empty"]);
    scene
        .silt(["build", "/no/such/folder"])
        .fails(1, &["/no/such/folder"]);
    refused(&scene, "").fails(1, &["empty"]);
    refused(&scene, "# only a comment\n").fails(1, &[]);
    refused(&scene, "FROM debian\nRUM echo x\n").fails(1, &["RUM", "RUN", "2", "^"]);
    refused(&scene, "FROM debian\nCOPY --form=x a b\n").fails(1, &["--form", "--from", "^"]);
    refused(&scene, "RUN true\n").fails(1, &["FROM"]);
    refused(&scene, "FROM debian\nCOPY --from=nowhere /a /b\n").fails(1, &["nowhere"]);
    refused(&scene, "./\0\0ustar").fails(1, &["NUL bytes"]);
    scene
        .silt(["build", "-f", "/dev/zero", "."])
        .fails(1, &["/dev/zero", "longer than 16 MiB"]);
    scene
        .silt(["build", "https://example.org/app.git"])
        .fails(1, &["app.git", "local directory"]);
    still_works(&scene);
}

#[test]
fn flags_that_do_not_exist() {
    let scene = Scene::empty();
    let context = scene.context("empty", "FROM scratch\n");
    scene
        .silt(["build", "--no-cash", "."])
        .fails(2, &["--no-cash", "--no-cache"]);
    scene.silt(["biuld", "."]).fails(2, &["biuld", "build"]);
    scene
        .silt([
            "build".as_ref(),
            "-t".as_ref(),
            "UPPER:case:twice".as_ref(),
            context.as_os_str(),
        ])
        .fails(1, &["UPPER:case:twice"]);
    scene.silt(["run"]).fails(2, &["IMAGE"]);
}

#[test]
fn files_that_are_not_in_the_context() {
    let scene = Scene::debian();
    scene.write("secret", "outside\n");
    scene.write("bad/there", "inside\n");
    scene.write("bad/.dockerignore", "ignored\n");
    scene.write("bad/ignored", "x\n");
    refused(&scene, "FROM debian\nCOPY missing /\n").fails(1, &["missing", "COPY"]);
    refused(&scene, "FROM debian\nCOPY ignored /\n").fails(1, &["ignored", "ignore file"]);
    refused(&scene, "FROM debian\nCOPY *.none /\n").fails(1, &["*.none"]);
    refused(&scene, "FROM debian\nCOPY there missing /\n").fails(1, &["missing"]);
    refused(&scene, "FROM debian\nCOPY there there /not-a-folder\n").fails(1, &["/not-a-folder"]);
    // A path above the context means the context's root, as Docker has it: not there, never the file outside.
    refused(&scene, "FROM debian\nCOPY ../secret /\n").fails(1, &["secret"]);
    std::os::unix::fs::symlink("../secret", scene.path("bad/link")).unwrap();
    std::os::unix::fs::symlink("..", scene.path("bad/up")).unwrap();
    refused(&scene, "FROM debian\nCOPY up/secret /\n").fails(1, &["secret"]);
    // The link itself is content; what it points to outside is not followed.
    let copied = scene.context(
        "bad",
        "FROM debian\nCOPY link /link\nRUN test -L /link && ! test -e /link\n",
    );
    scene.build("link", &copied);
    still_works(&scene);
}

#[test]
fn bases_that_cannot_be_had() {
    let scene = Scene::debian();
    // Port 1 refuses at once; a listener that accepts and says nothing hangs until the client's own limit.
    refused(&scene, "FROM 127.0.0.1:1/nothing\n").fails(1, &["127.0.0.1:1"]);
    refused(&scene, "FROM debian:no-such-tag-here\n").fails(1, &["debian:no-such-tag-here"]);
    refused(&scene, "FROM Not//AName\n").fails(1, &["Not//AName"]);
    scene
        .silt(["run", "--rm", "127.0.0.1:1/nothing"])
        .fails(125, &["127.0.0.1:1"]);
    scene
        .silt(["pull", "127.0.0.1:1/nothing"])
        .fails(1, &["127.0.0.1:1"]);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{\"half\": ")
            .unwrap();
    });
    refused(&scene, &format!("FROM 127.0.0.1:{port}/half\n")).fails(1, &[&format!("127.0.0.1:{port}")]);
    answer.join().unwrap();
    still_works(&scene);
}

/// A member of a hostile tar.
fn member(name: &str, kind: tar::EntryType, link: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    let bytes = header.as_mut_bytes();
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn import(scene: &Scene, name: &str, bytes: &[u8]) -> Ran {
    let path = scene.write(&format!("{name}.tar"), bytes);
    scene.silt(["import".as_ref(), path.as_os_str(), "bad".as_ref()])
}

#[test]
fn tars_that_lie() {
    use tar::EntryType;
    let scene = Scene::debian();
    let whole = fs::read(crate::scene::debian::tar()).unwrap();
    import(&scene, "truncated", &whole[..whole.len() / 3 * 2 + 100]).fails(1, &["truncated"]);
    import(&scene, "noise", &[0xab; 4096]).fails(1, &["archive"]);

    let end = vec![0; 1024];
    let hostile = [
        ("up", member("../escaped", EntryType::Regular, "", 0)),
        ("up-inside", member("a/../../escaped", EntryType::Regular, "", 0)),
        (
            "hard-link-out",
            member("link", EntryType::Link, "../../../etc/passwd", 0),
        ),
        ("huge", member("huge", EntryType::Regular, "", 1 << 32)),
        (
            "hard-link-to-nothing",
            member("link", EntryType::Link, "nothing", 0),
        ),
    ];
    for (name, bytes) in hostile {
        import(&scene, name, &[bytes, end.clone()].concat()).fails(1, &[]);
        assert!(!scene.path("escaped").exists(), "{name}");
    }

    // A link that leads out, then a file below it: the host's file system must not see it.
    let outside = scene.path("outside");
    fs::create_dir(&outside).unwrap();
    let through = [
        member("link", EntryType::Symlink, outside.to_str().unwrap(), 0),
        member("link/planted", EntryType::Regular, "", 0),
        end.clone(),
    ];
    import(&scene, "through", &through.concat());
    assert!(
        fs::read_dir(&outside).unwrap().next().is_none(),
        "nothing was planted on the host"
    );
    scene.silt(["rmi", "bad"]);

    let absolute = [member("/absolute", EntryType::Regular, "", 0), end].concat();
    let path = scene.write("absolute.tar", absolute);
    scene
        .silt(["import".as_ref(), path.as_os_str(), "absolute".as_ref()])
        .ok();
    assert!(!std::path::Path::new("/absolute").exists());
    still_works(&scene);
}

#[test]
fn archives_that_are_none() {
    let scene = Scene::debian();
    let noise = scene.write("noise.tar", [7; 2000]);
    scene
        .silt(["load".as_ref(), "-i".as_ref(), noise.as_os_str()])
        .fails(1, &["archive"]);
    scene
        .silt(["load", "-i", "/no/such/archive"])
        .fails(1, &["/no/such/archive"]);
    let plain = crate::scene::debian::tar();
    scene
        .silt(["load".as_ref(), "-i".as_ref(), plain.as_os_str()])
        .fails(1, &["manifest.json"]);

    let mut command = scene.command(["import", "-", "bad"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&[1; 700]).unwrap();
    finish(child, "silt import -").fails(1, &[]);
    still_works(&scene);
}
