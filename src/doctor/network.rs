//! Connections: how many there may be, how many may wait, and how much each holds in the kernel.

use klamm_os::survey::{Limit, Reading};

use super::{Finding, Knob, State, Subject, bytes_text, knob, sysctl};
use crate::boot::{FILES_RESERVED, connections_within};
use crate::words::counted;

pub(super) fn open_files(subject: Subject<'_>) -> Finding {
    const OPEN_FILES: Knob = knob("open files", "open-files");
    let wanted = subject.config.sockets.connections_max;
    // Kafka's default means no limit; then any number of files that leaves room is fine.
    let unlimited = i32::MAX.unsigned_abs();
    let needed = if wanted >= unlimited {
        2 * FILES_RESERVED
    } else {
        (u64::from(wanted) + FILES_RESERVED).max(2 * FILES_RESERVED)
    };
    let expected = format!("a hard limit of at least {needed}");
    let files = match &subject.survey.limits.open_files {
        Err(unread) => return Finding::unread(OPEN_FILES, expected, unread),
        Ok(Limit::Unlimited) => return Finding::good(OPEN_FILES, "no limit", expected),
        Ok(Limit::To(files)) => *files,
    };
    let connections = connections_within(wanted, files);
    let found = format!(
        "{files}, which leaves {}",
        counted(u64::from(connections), "connection")
    );
    let finding = Finding::good(OPEN_FILES, found, expected);
    if files >= needed {
        return finding;
    }
    finding.but(
        State::Advice,
        "a connection is an open file; the broker refuses those beyond what the limit leaves",
        format!(
            "ulimit -Hn {needed}   # as root; LimitNOFILE={needed} in the systemd unit, --ulimit \
             nofile={needed} in Docker"
        ),
    )
}

pub(super) fn backlog(subject: Subject<'_>) -> Finding {
    const BACKLOG: Knob = knob("listen backlog", "listen-backlog");
    let wanted = u64::from(subject.config.sockets.backlog);
    let expected = format!("net.core.somaxconn of at least socket.listen.backlog.size={wanted}");
    match subject.survey.network.backlog_max {
        Err(ref unread) => Finding::unread(BACKLOG, expected, unread),
        Ok(most) => {
            let finding = Finding::good(BACKLOG, format!("net.core.somaxconn={most}"), expected);
            if most >= wanted {
                return finding;
            }
            finding.but(
                State::Advice,
                "the kernel cuts the queue of connections that wait to be accepted to this",
                sysctl("net.core.somaxconn", wanted),
            )
        }
    }
}

pub(super) fn buffers(subject: Subject<'_>) -> Finding {
    const BUFFERS: Knob = knob("socket buffers", "socket-buffers");
    let (network, sockets) = (&subject.survey.network, &subject.config.sockets);
    let expected = "as large as they are configured, or tuned by the kernel";
    let sides = [
        (
            "socket.send.buffer.bytes",
            sockets.send_buffer_bytes,
            ("net.core.wmem_max", &network.send_bytes_max),
            &network.send_bytes_tuned_max,
        ),
        (
            "socket.receive.buffer.bytes",
            sockets.receive_buffer_bytes,
            ("net.core.rmem_max", &network.receive_bytes_max),
            &network.receive_bytes_tuned_max,
        ),
    ];
    let (mut found, mut fixes) = (Vec::new(), Vec::new());
    for (key, wanted, (name, most), tuned_max) in sides {
        let reading: &Reading<u64> = if wanted.is_some() { most } else { tuned_max };
        let limit = match reading {
            Err(unread) => return Finding::unread(BUFFERS, expected, unread),
            Ok(limit) => *limit,
        };
        match wanted {
            None => found.push(format!("{key} tuned, up to {}", bytes_text(limit))),
            Some(wanted) => {
                found.push(format!("{key}={wanted}, {name}={limit}"));
                if wanted as u64 > limit {
                    fixes.push(sysctl(name, wanted));
                }
            }
        }
    }
    let finding = Finding::good(BUFFERS, found.join("; "), expected);
    if fixes.is_empty() {
        return finding;
    }
    finding.but(
        State::Advice,
        "the kernel cuts a configured size to this without a word, and tunes no buffer whose size \
         was configured",
        fixes.join("; "),
    )
}
