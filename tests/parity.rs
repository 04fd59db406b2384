//! The same Dockerfile through Debian's docker.io (legacy builder) and through Silt: the same file tree, the same config.

use serde_json::Value;

use crate::scene::Scene;
use crate::scene::archive::{Image, Tree, differences};
use crate::scene::dockerd::Dockerd;

/// Every kind of entry that both builders know, written by instructions and by steps. VOLUME comes after the last step: the
/// legacy builder mounts volumes in steps and leaves their mount points in the tree, BuildKit and Silt do not.
const DOCKERFILE: &str = r#"
ARG BASE=debian
FROM ${BASE} AS tools
RUN mkdir -p /out/sub && echo tool > /out/tool && chmod 0750 /out/tool && echo sub > /out/sub/file && ln -s tool /out/link

FROM ${BASE}
ARG VERSION=1.2
ENV VERSION=${VERSION} GREETING="hello world" NAMED=$VERSION-x
LABEL one=1 "two words"="2 3"
MAINTAINER someone
WORKDIR /work/deep
WORKDIR inner
COPY . .
COPY one.txt two.txt /copied/
COPY *.txt /globbed/
COPY folder /folder
COPY folder/ /made/by/copy/
COPY --chown=daemon:bin one.txt /owned
COPY --chown=1234:5678 folder /owned-folder
COPY --from=tools /out /tools
ADD packed.tar.gz /unpacked/
ADD one.txt /added
RUN groupadd -r app && useradd -r -g app -d /home/app -m app
RUN install -m 4755 /bin/true /setuid && install -m 2755 /bin/true /setgid && install -d -m 1777 /sticky
RUN mkfifo /fifo && mknod /null c 1 3 && ln /setuid /hard && ln -s /nowhere /dangling
RUN rm -r /globbed && mkdir /globbed && echo new > /globbed/only
RUN rm /etc/issue && mkdir /etc/issue && mv /folder /moved
RUN chown -R app:app /home/app && chmod -R go-rwx /home/app && truncate -s 1M /sparse && dd if=/dev/zero of=/sparse bs=1 seek=500000 count=1 conv=notrunc status=none
USER app:app
RUN id -un > /tmp/who && pwd > /tmp/where && env | sort | grep -E '^(VERSION|GREETING|NAMED)=' > /tmp/env
USER 0
EXPOSE 80 443/tcp 53/udp
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --retries=2 CMD true
SHELL ["/bin/bash", "-c"]
RUN echo "$BASH_VERSION" | cut -c1 > /shell
VOLUME ["/data", "/more data"]
ONBUILD RUN echo triggered
ENTRYPOINT ["/bin/echo", "-n"]
CMD ["one", "two"]
"#;

fn context(scene: &Scene) -> std::path::PathBuf {
    let context = scene.context("parity", DOCKERFILE);
    scene.write("parity/one.txt", "one\n");
    scene.write("parity/two.txt", "two\n");
    scene.write("parity/folder/inner/file", "file\n");
    scene.write("parity/folder/run.sh", "#!/bin/sh\n");
    scene.write("parity/ignored/file", "not there\n");
    scene.write("parity/ignored/kept", "there\n");
    scene.write(
        "parity/.dockerignore",
        "# comment\nignored/*\n!ignored/kept\n**/*.log\n",
    );
    scene.write("parity/folder/inner/x.log", "not there\n");
    let script = "chmod 0755 folder/run.sh && chmod 0600 two.txt && ln -s inner folder/link && ln -s ../one.txt folder/up
        mkdir -p packed/dir && echo packed > packed/dir/file && ln packed/dir/file packed/hard && ln -s dir packed/soft
        tar -C packed --owner=7 --group=8 -czf packed.tar.gz . && rm -r packed";
    crate::scene::run(
        std::process::Command::new("sh")
            .args(["-ec", script])
            .current_dir(&context),
    )
    .ok();
    context
}

/// Content that a step derives from the clock or from other files' times.
fn without_clocks(mut tree: Tree) -> Tree {
    for path in ["/var/log/", "/var/cache/ldconfig/", "/etc/shadow", "/etc/shadow-"] {
        for (_, fact) in tree.iter_mut().filter(|(name, _)| name.starts_with(path)) {
            fact.content.clear();
        }
    }
    tree
}

#[test]
fn docker_and_silt_build_the_same_tree_and_config() {
    let scene = Scene::debian();
    let context = context(&scene);
    let dockerd = Dockerd::start();
    dockerd.import_debian();
    dockerd.build("parity", &context);
    scene.build("parity", &context);

    let (docker_tar, silt_tar) = (scene.path("docker.tar"), scene.path("silt.tar"));
    dockerd.docker([
        "save".as_ref(),
        "-o".as_ref(),
        docker_tar.as_os_str(),
        "parity".as_ref(),
    ]);
    scene
        .silt([
            "save".as_ref(),
            "-o".as_ref(),
            silt_tar.as_os_str(),
            "parity".as_ref(),
        ])
        .ok();
    let (docker, silt) = (Image::read(&docker_tar), Image::read(&silt_tar));

    let (docker_tree, silt_tree) = (without_clocks(docker.tree()), without_clocks(silt.tree()));
    assert!(docker_tree.len() > 5000, "{} paths", docker_tree.len());
    assert_eq!(docker_tree["/setuid"].mode, 0o4755);
    let differences = differences(&docker_tree, &silt_tree);
    assert!(
        differences.is_empty(),
        "docker's, then silt's:\n{}",
        differences.join("\n")
    );

    assert_eq!(
        fields(&docker.config),
        fields(&silt.config),
        "docker's, then silt's"
    );
    assert_eq!(docker.config["author"], silt.config["author"]);
    assert_eq!(docker.config["os"], silt.config["os"]);
    assert_eq!(docker.config["architecture"], silt.config["architecture"]);
}

/// What a runtime reads, in one form: a field that is empty or missing means the same.
fn fields(config: &Value) -> Vec<(&'static str, Value)> {
    let names = [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "Shell",
        "OnBuild",
    ];
    let empty = |value: &Value| {
        value.as_str().is_some_and(str::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    let field = |name: &'static str| match config["config"][name].clone() {
        value if empty(&value) => (name, Value::Null),
        Value::Object(map) => {
            let sorted: std::collections::BTreeMap<_, _> = map.into_iter().collect();
            (name, serde_json::to_value(sorted).unwrap())
        }
        value => (name, value),
    };
    names.map(field).to_vec()
}
