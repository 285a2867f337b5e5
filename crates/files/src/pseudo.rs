//! Filesystems that store nothing: what looks like a file there is made up by the kernel at each read, may have no end
//! (`/proc/kcore`) or may never answer (`/proc/kmsg`). They are recorded as directories and not entered.

use std::os::fd::AsFd;

use rustix::io::Errno;

/// `f_type` of statfs(2), from linux/magic.h and the kernel's filesystems.
const PSEUDO: [u32; 19] = [
    0x0000_0187, // autofs
    0x0000_1cd1, // devpts
    0x0000_9fa0, // proc
    0x0027_e0eb, // cgroup
    0x1980_0202, // mqueue
    0x4249_4e4d, // binfmt_misc
    0x6265_6570, // configfs
    0x6265_6572, // sysfs
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x6573_5543, // fusectl
    0x6759_6969, // rpc_pipefs
    0x6165_676c, // pstore
    0x6e73_6673, // nsfs
    0x7363_6673, // securityfs
    0x7472_6163, // tracefs
    0xcafe_4a11, // bpf
    0xde5e_81e4, // efivarfs
    0xf97c_ff8c, // selinuxfs
];

/// True when `dir` lies on a filesystem that stores nothing.
pub fn is_pseudo(dir: impl AsFd) -> Result<bool, Errno> {
    let kind = rustix::fs::fstatfs(dir)?.f_type;
    // Signed or unsigned, 32 or 64 bits: the magic is in the low 32 everywhere.
    Ok(PSEUDO.contains(&(kind as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_proc_from_a_directory_on_disk() {
        assert!(is_pseudo(std::fs::File::open("/proc").unwrap()).unwrap());
        assert!(!is_pseudo(tempfile::tempfile().unwrap()).unwrap());
    }
}
