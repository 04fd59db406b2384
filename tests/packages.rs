//! Debian's own packages installed in RUN steps: what dpkg expects of a filesystem, and what it leaves in the exported image.

use crate::scene::Scene;
use crate::scene::archive::Image;

const DOCKERFILE: &str = r#"
FROM debian
RUN apt-get update
RUN apt-get install -y --no-install-recommends redis-server git
RUN apt-get install -y --no-install-recommends gcc libc6-dev python3 iputils-ping
RUN dpkg --audit > /audit && dpkg --verify > /verify; true
RUN printf '#include <stdio.h>\nint main(void) { puts("compiled"); return 0; }\n' > /main.c && gcc -O2 -o /usr/local/bin/program /main.c
RUN git init -q /repository && cd /repository && git config user.email a@b && git config user.name n \
 && cp -r /usr/share/perl5 . && git add . && git commit -q -m all && git status --short > /status && git fsck --strict
RUN python3 -c 'import sqlite3; c = sqlite3.connect("/data.db"); c.execute("create table t (x)"); \
c.executemany("insert into t values (?)", [(n,) for n in range(1000)]); c.commit(); print(c.execute("pragma integrity_check").fetchone()[0])'
"#;

#[test]
fn packages_install_cleanly_and_keep_their_bits_in_the_exported_image() {
    let scene = Scene::debian();
    let context = scene.context("packages", DOCKERFILE);
    let built = scene.build("packages", &context);
    assert!(
        built.stderr.contains("\nok") || built.stderr.contains(" ok\n"),
        "sqlite's integrity check: {built}"
    );

    assert_eq!(
        scene.shell("packages", "cat /audit /status"),
        "",
        "dpkg --audit and git status have nothing to say"
    );
    // Packages of a minimal base may lack documentation; nothing else may be missing or changed.
    let verified = scene.shell("packages", "cat /verify");
    assert_eq!(
        verified.lines().find(|line| !line.contains("/usr/share/")),
        None,
        "{verified}"
    );
    assert_eq!(scene.shell("packages", "program"), "compiled\n");
    assert!(
        scene
            .shell("packages", "redis-server --version")
            .starts_with("Redis server")
    );
    assert_eq!(scene.shell("packages", "python3 -c 'print(6 * 7)'"), "42\n");

    let archive = scene.path("packages.tar");
    scene
        .silt([
            "save".as_ref(),
            "-o".as_ref(),
            archive.as_os_str(),
            "packages".as_ref(),
        ])
        .ok();
    let tree = Image::read(&archive).tree();
    for path in ["/usr/bin/passwd", "/usr/bin/su", "/usr/bin/mount"] {
        assert_eq!(tree[path].mode, 0o4755, "{path}");
    }
    assert_eq!(tree["/usr/bin/chage"].mode, 0o2755);
    assert_eq!(tree["/var/mail"].mode, 0o2775);
    let capability = tree["/usr/bin/ping"].xattrs.get("security.capability");
    // Revision 2, effective; cap_net_raw permitted.
    let expected = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(capability.map(Vec::as_slice), Some(&expected[..]));
    assert_eq!(tree["/var/lib/redis"].mode, 0o750);
    assert_ne!(tree["/var/lib/redis"].owner, (0, 0));
}
