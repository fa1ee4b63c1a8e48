//! Where the shards run, and what else runs there.

use klamm_os::survey::Interrupt;

use super::{Finding, Knob, State, Subject, knob};
use crate::config::cores_text;
use crate::words::counted;

const NOT_PINNED: &str = "the shards would not be pinned, so no core is theirs";

/// A core list in ascending order, for a text.
fn listed(cores: &[usize]) -> String {
    let mut cores = cores.to_vec();
    cores.sort_unstable();
    cores.dedup();
    cores_text(&cores)
}

pub(super) fn shards(subject: Subject<'_>) -> Finding {
    const SHARDS: Knob = knob("shards", "shards-and-cores");
    let (count, usable) = (subject.config.shards.count, &subject.survey.host.cores);
    let pinned = subject.pinned();
    let expected = "a core for each shard";
    let shards = counted(count as u64, "shard");
    let usable = format!("this process may use {}", listed(usable));
    if pinned.is_empty() {
        let found = format!("{shards}, not pinned; {usable}");
        return Finding::good(SHARDS, found, expected).but(
            State::Advice,
            "there are more shards than cores: they take turns, and each waits for the others",
            format!("klamm.shards={}", subject.survey.host.cores.len().max(1)),
        );
    }
    let found = format!("{shards} on cores {}; {usable}", listed(pinned));
    let mut own = pinned.to_vec();
    own.sort_unstable();
    own.dedup();
    let finding = Finding::good(SHARDS, found, expected);
    if own.len() == pinned.len() {
        return finding;
    }
    finding.but(
        State::Advice,
        "klamm.cores names fewer cores than there are shards, so some share one",
        format!("klamm.shards={}", own.len()),
    )
}

/// Cores that run and are no shard's. `None` if the kernel does not say which run.
fn others(subject: Subject<'_>) -> Option<Vec<usize>> {
    let online = subject.survey.cores.online.as_ref().ok()?;
    let pinned = subject.pinned();
    let others = online.iter().filter(|core| !pinned.contains(core));
    Some(others.copied().collect())
}

pub(super) fn isolation(subject: Subject<'_>) -> Finding {
    const ISOLATION: Knob = knob("isolation", "isolation");
    let expected = "nothing but shards on the shards' cores";
    let cores = &subject.survey.cores;
    let pinned = subject.pinned();
    let isolated = match &cores.isolated {
        Err(unread) => return Finding::unread(ISOLATION, expected, unread),
        Ok(_) if pinned.is_empty() => return Finding::unknown(ISOLATION, expected, NOT_PINNED),
        Ok(isolated) => isolated,
    };
    if pinned.iter().all(|core| isolated.contains(core)) {
        let found = format!("the kernel keeps cores {} free", listed(pinned));
        return Finding::good(ISOLATION, found, expected);
    }
    let spare = match others(subject) {
        Some(others) if others.is_empty() => {
            let found = "shards on every core: there is nowhere else to run";
            return Finding::good(ISOLATION, found, expected);
        }
        Some(others) => listed(&others),
        None => "the others".to_owned(),
    };
    if isolated.is_empty() {
        let own = listed(pinned);
        let found = format!("other programs may run on cores {own}");
        return Finding::good(ISOLATION, found, expected).but(
            State::Advice,
            format!("whatever runs there delays a shard; cores {spare} could take it"),
            format!(
                "echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX isolcpus=domain,managed_irq,{own} \
                 nohz_full={own}\"' | sudo tee -a /etc/default/grub && sudo update-grub   # then restart"
            ),
        );
    }
    let (own, free) = (listed(pinned), listed(isolated));
    let found = format!("cores {free} are kept free, the shards would run on {own}");
    let all = cores
        .online
        .as_deref()
        .map_or_else(|_| free.clone(), listed);
    Finding::good(ISOLATION, found, expected).but(
        State::Advice,
        "a process may use isolated cores only if it is started with them",
        format!("taskset -c {all} klamm serve --set klamm.cores={free}"),
    )
}

pub(super) fn siblings(subject: Subject<'_>) -> Finding {
    const SIBLINGS: Knob = knob("SMT siblings", "smt-siblings");
    let expected = "no two shards on one physical core";
    let pinned = subject.pinned();
    if pinned.is_empty() {
        return Finding::unknown(SIBLINGS, expected, NOT_PINNED);
    }
    // The first shard of each physical core may stay.
    let (mut alone, mut sharing) = (Vec::new(), Vec::new());
    for core in &subject.survey.cores.each {
        if !pinned.contains(&core.number) {
            continue;
        }
        let siblings = match &core.siblings {
            Err(unread) => return Finding::unread(SIBLINGS, expected, unread),
            Ok(siblings) => siblings,
        };
        if siblings.iter().any(|sibling| alone.contains(sibling)) {
            sharing.push(core.number);
        } else {
            alone.push(core.number);
        }
    }
    if sharing.is_empty() {
        let found = format!("a physical core for each of {}", listed(pinned));
        return Finding::good(SIBLINGS, found, expected);
    }
    let found = format!("cores {} are siblings of other shards'", listed(&sharing));
    Finding::good(SIBLINGS, found, expected).but(
        State::Advice,
        "two shards of one physical core take turns at its execution units: more throughput from \
         the whole than from half as many shards, and slower answers from each",
        format!("klamm.cores={}", listed(&alone)),
    )
}

pub(super) fn nodes(subject: Subject<'_>) -> Finding {
    const NODES: Knob = knob("memory nodes", "memory-nodes");
    let expected = "all shards on one memory node";
    let pinned = subject.pinned();
    let nodes = match &subject.survey.cores.nodes {
        Err(unread) => return Finding::unread(NODES, expected, unread),
        Ok(nodes) if nodes.len() < 2 => return Finding::good(NODES, "one node", expected),
        Ok(_) if pinned.is_empty() => return Finding::unknown(NODES, expected, NOT_PINNED),
        Ok(nodes) => nodes,
    };
    let own = |node: &&Vec<usize>| node.iter().filter(|core| pinned.contains(core)).count();
    let used = nodes.iter().filter(|node| own(node) > 0).count();
    let found = format!("shards on {used} of {} nodes", nodes.len());
    let finding = Finding::good(NODES, found, expected);
    let usable = &subject.survey.host.cores;
    match nodes.iter().max_by_key(own) {
        Some(best) if used > 1 => {
            let best: Vec<usize> = best
                .iter()
                .copied()
                .filter(|core| usable.contains(core))
                .collect();
            finding.but(
                State::Advice,
                "a request that reaches its partition's core on another node, and what is sent from \
                 that core's memory, cross the link between them; if one node is enough, stay on it",
                format!("klamm.cores={}", listed(&best)),
            )
        }
        _ => finding,
    }
}

/// An interrupt counts if it is at least one of so many.
const SHARE_MIN: u64 = 100;

pub(super) fn interrupts(subject: Subject<'_>) -> Finding {
    const INTERRUPTS: Knob = knob("interrupts", "interrupts");
    let expected = "interrupts of disk and network on cores without a shard";
    let pinned = subject.pinned();
    let all = match &subject.survey.interrupts {
        Err(unread) => return Finding::unread(INTERRUPTS, expected, unread),
        Ok(_) if pinned.is_empty() => return Finding::unknown(INTERRUPTS, expected, NOT_PINNED),
        Ok(all) => all,
    };
    let taken = |one: &Interrupt| one.taken.iter().map(|(_, count)| count).sum::<u64>();
    let total: u64 = all.iter().map(taken).sum();
    let hits = |one: &&Interrupt| {
        let goes_to = one.goes_to.as_deref().unwrap_or_default();
        let counts = taken(one) > 0 && taken(one).saturating_mul(SHARE_MIN) >= total;
        counts && goes_to.iter().any(|core| pinned.contains(core))
    };
    let mut busy: Vec<&Interrupt> = all.iter().filter(hits).collect();
    busy.sort_by_key(|one| std::cmp::Reverse(taken(one)));
    if busy.is_empty() {
        return Finding::good(INTERRUPTS, "none of the busy ones", expected);
    }
    let shown = busy.iter().take(4).map(|one| {
        let goes_to = one.goes_to.as_deref().unwrap_or_default();
        let (number, device) = (one.number, &one.device);
        format!("{number} ({device}) on core {}", listed(goes_to))
    });
    let mut found = shown.collect::<Vec<_>>().join(", ");
    if busy.len() > 4 {
        found.push_str(&format!(", and {} more", busy.len() - 4));
    }
    let spare = match others(subject) {
        Some(others) if !others.is_empty() => listed(&others),
        _ => {
            let found = format!("{found}; shards on every core: there is nowhere else to go");
            return Finding::good(INTERRUPTS, found, expected);
        }
    };
    let numbers = busy.iter().map(|one| one.number.to_string());
    Finding::good(INTERRUPTS, found, expected).but(
        State::Advice,
        "each of them takes time from the shard on that core",
        format!(
            "sudo systemctl stop irqbalance; for i in {}; do echo {spare} | sudo tee \
             /proc/irq/$i/smp_affinity_list; done",
            numbers.collect::<Vec<_>>().join(" ")
        ),
    )
}

pub(super) fn governor(subject: Subject<'_>) -> Finding {
    const GOVERNOR: Knob = knob("frequency governor", "frequency-governor");
    let expected = "performance on the shards' cores";
    let pinned = subject.pinned();
    let ours = |number: usize| pinned.is_empty() || pinned.contains(&number);
    let mut other = Vec::new();
    for core in &subject.survey.cores.each {
        match &core.governor {
            _ if !ours(core.number) => {}
            Err(unread) => {
                let why = format!("{unread}; in a virtual machine the host decides");
                return Finding::unknown(GOVERNOR, expected, why);
            }
            Ok(word) if word == "performance" => {}
            Ok(word) => other.push((core.number, word)),
        }
    }
    let Some((_, word)) = other.first() else {
        return Finding::good(GOVERNOR, "performance", expected);
    };
    let cores: Vec<usize> = other.iter().map(|(core, _)| *core).collect();
    let cores = listed(&cores);
    Finding::good(GOVERNOR, format!("{word} on cores {cores}"), expected).but(
        State::Advice,
        "a shard sleeps between requests, and after each sleep the core begins slowly",
        format!("sudo cpupower -c {cores} frequency-set -g performance"),
    )
}

pub(super) fn quota(subject: Subject<'_>) -> Finding {
    const QUOTA: Knob = knob("processor quota", "control-group-limits");
    let expected = "no quota, or a whole core for each shard";
    let Some(limit) = subject.survey.host.core_limit_thousandths else {
        return Finding::good(QUOTA, "no quota", expected);
    };
    let throttled = subject.survey.throttled.as_ref().ok();
    let used_up = throttled.map_or_else(String::new, |count| {
        format!("; it was used up {}", counted(*count, "time"))
    });
    let found = format!("{}.{:03} cores{used_up}", limit / 1000, limit % 1000);
    let finding = Finding::good(QUOTA, found, expected);
    let shards = subject.config.shards.count as u64;
    if limit >= shards.saturating_mul(1000) {
        return finding;
    }
    finding.but(
        State::Advice,
        format!(
            "{} can use up the quota, and then all of them stand still until the next period \
             (100 ms by default)",
            counted(shards, "shard")
        ),
        format!(
            "klamm.shards={}   # or a larger quota: docker run --cpus {shards}, CPUQuota={}% in the \
             systemd unit",
            (limit / 1000).max(1),
            shards * 100
        ),
    )
}

pub(super) fn spin(subject: Subject<'_>) -> Finding {
    const SPIN: Knob = knob("spin", "spin");
    let expected = "0, unless cores are left for everything else";
    let spin_us = subject.config.shards.spin_us;
    let finding = Finding::good(SPIN, format!("klamm.spin.us={spin_us}"), expected);
    let spare = others(subject).is_some_and(|others| !others.is_empty());
    if spin_us == 0 || (spare && !subject.pinned().is_empty()) {
        return finding;
    }
    finding.but(
        State::Advice,
        "idle shards keep every core busy, while clients, interrupts and the kernel's threads wait \
         for one",
        "klamm.spin.us=0",
    )
}
