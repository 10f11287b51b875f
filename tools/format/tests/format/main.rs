// SPDX-License-Identifier: GPL-2.0

//! Tests of the format as a whole. Random ones say their seed when they fail.

mod ageing;
mod allocate;
mod bitmap;
mod crash;
mod directory;
mod file;
mod full;
mod journal;
mod leaf;
mod malformed;
mod names;
mod orphan;
mod scale;
mod shapes;
mod superblock;
mod support;
mod tree;
mod workload;
mod xattr;
