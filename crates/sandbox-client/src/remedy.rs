//! Remedies for missing isolation layers, for operators.

/// Returns how to enable `layer`, in words for an operator; `None` if nothing can be done from outside.
pub fn remedy(layer: &str) -> Option<&'static str> {
    Some(match layer {
        "landlock" => {
            "landlock needs Linux 5.13 or newer and `landlock` in /sys/kernel/security/lsm. If the kernel has it but does not \
             list it, add it to the kernel's `lsm=` option. gVisor has no landlock and isolates in its own way: expect L2 there"
        }
        "namespaces" => {
            "only L4 needs namespaces. On a host, set sysctl user.max_user_namespaces above 0; on Debian also \
             kernel.unprivileged_userns_clone=1, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0. In Docker the \
             default seccomp profile and AppArmor refuse them: --security-opt seccomp=PROFILE with unshare allowed, \
             --security-opt apparmor=unconfined. A container that refuses them is an isolation layer of its own"
        }
        "memory_deny_write_execute" => {
            "it needs Linux 6.3 or newer; on older kernels seccomp alone enforces the same rule"
        }
        "speculation_control" => {
            "no isolation level needs it. The kernel decides: with `spec_store_bypass_disable=prctl` and \
             `spectre_v2_user=prctl` (the defaults of most machines) a process may ask for it. A virtual machine needs a \
             processor model that offers SSBD and IBPB. If clients do not trust each other, also turn SMT off or use core \
             scheduling"
        }
        "unprivileged_user" => {
            "start the service as a user other than root (`docker run --user 65534`), or leave it CAP_SETUID, CAP_SETGID and \
             CAP_KILL"
        }
        "no_new_privileges" => {
            "it needs Linux 3.5 or newer; in Docker add --security-opt no-new-privileges"
        }
        "seccomp" => {
            "the kernel needs CONFIG_SECCOMP_FILTER; a container's own profile must allow the system call `seccomp` (Docker's \
             default profile does)"
        }
        "rlimits" => {
            "mount /proc, and do not start the service under hard limits lower than its own"
        }
        "build" => "install `sandpiper` and `sandpiper-sandbox` from one build, in one folder",
        "fork" => "raise the limit on processes: docker run --pids-limit, pids.max, ulimit -u",
        "sigkill" => {
            "a service that is started as root needs CAP_KILL to end processes of another user"
        }
        _ => return None,
    })
}
