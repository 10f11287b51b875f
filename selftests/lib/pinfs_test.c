// SPDX-License-Identifier: GPL-2.0
/* What the pinfs tests share; see pinfs_test.h. */
#include "pinfs_test.h"

#include <dirent.h>
#include <ftw.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

/* ---- time ---- */

long scaled_ms(long ms)
{
	const char *scale = getenv("PINFS_TIME_SCALE");
	long factor = scale ? atol(scale) : 1;

	return ms * (factor > 0 ? factor : 1);
}

long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void say_it_goes_on(void)
{
	static atomic_long said;
	long last = atomic_load(&said), now = now_ms();

	if (now < last + 5 * 60 * 1000 || !atomic_compare_exchange_strong(&said, &last, now))
		return;
	/* The first call is how the test begins. */
	if (last) {
		printf("# it goes on\n");
		fflush(stdout);
	}
}

void nap_ms(long ms)
{
	poll(NULL, 0, ms);
}

/* ---- actors ---- */

void act_init(struct actor *a, const char *path)
{
	memset(a, 0, sizeof(*a));
	snprintf(a->path, sizeof(a->path), "%s", path);
	a->fd = -1;
	a->got_fd = -1;
	a->pipe[0] = -1;
	a->pipe[1] = -1;
}

void act_fini(struct actor *a)
{
	for (long i = 0; i < ACT_RINGS; i++)
		act_ring_close(a, i);
	act_unmap(a, 0);
	act_close(a, 0);
	if (a->got_fd >= 0)
		close(a->got_fd);
	if (a->pipe[0] >= 0) {
		close(a->pipe[0]);
		close(a->pipe[1]);
	}
	a->got_fd = -1;
	a->pipe[0] = -1;
	a->pipe[1] = -1;
}

long act_open(struct actor *a, long flags)
{
	long fd = ERR(open(a->path, flags | O_CLOEXEC, 0600));

	if (fd < 0)
		return fd;
	a->fd = fd;
	return 0;
}

long act_close(struct actor *a, long unused)
{
	long ret;

	(void)unused;
	if (a->fd < 0)
		return -EBADF;
	ret = ERR(close(a->fd));
	a->fd = -1;
	return ret;
}

long act_lease(struct actor *a, long arg)
{
	return ERR(fcntl(a->fd, F_SETLEASE, (int)arg));
}

long act_getlease(struct actor *a, long unused)
{
	(void)unused;
	return ERR(fcntl(a->fd, F_GETLEASE));
}

long act_map(struct actor *a, long len)
{
	void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);

	if (map == MAP_FAILED)
		return -errno;
	a->map = map;
	a->map_len = len;
	return 0;
}

long act_unmap(struct actor *a, long unused)
{
	long ret;

	(void)unused;
	if (!a->map)
		return -EINVAL;
	ret = ERR(munmap(a->map, a->map_len));
	a->map = NULL;
	return ret;
}

long act_ring(struct actor *a, long which)
{
	/*
	 * Registered buffers count against RLIMIT_MEMLOCK. The tests are about
	 * what pinfs answers, so the limit must not answer first.
	 */
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	int ret;

	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	ret = io_uring_queue_init(4, &a->ring[which], 0);
	if (!ret)
		a->has_ring[which] = true;
	return ret;
}

long act_ring_close(struct actor *a, long which)
{
	if (!a->has_ring[which])
		return -EBADF;
	io_uring_queue_exit(&a->ring[which]);
	a->has_ring[which] = false;
	return 0;
}

long act_pin(struct actor *a, long which)
{
	struct iovec iov = { a->map, a->map_len };

	if (!a->has_ring[which])
		return -EBADF;
	return io_uring_register_buffers(&a->ring[which], &iov, 1);
}

long act_unpin(struct actor *a, long which)
{
	if (!a->has_ring[which])
		return -EBADF;
	return io_uring_unregister_buffers(&a->ring[which]);
}

long act_hold(struct actor *a, long lease)
{
	struct stat st;
	long ret = act_open(a, O_RDWR);

	if (!ret)
		ret = act_lease(a, lease);
	if (!ret)
		ret = ERR(fstat(a->fd, &st));
	if (!ret)
		ret = act_map(a, st.st_size);
	if (!ret)
		ret = act_ring(a, 0);
	if (!ret)
		ret = act_pin(a, 0);
	return ret;
}

long act_hold_ring_first(struct actor *a, long unused)
{
	struct stat st;
	long ret = act_ring(a, 0);

	(void)unused;
	if (!ret)
		ret = act_open(a, O_RDWR);
	if (!ret)
		ret = act_lease(a, EXCLUSIVE);
	if (!ret)
		ret = ERR(fstat(a->fd, &st));
	if (!ret)
		ret = act_map(a, st.st_size);
	if (!ret)
		ret = act_pin(a, 0);
	if (!ret && a->fd < a->ring[0].ring_fd)
		ret = -EPROTO;
	return ret;
}

long act_ftruncate(struct actor *a, long size)
{
	return ERR(ftruncate(a->fd, size));
}

long act_truncate(struct actor *a, long size)
{
	return ERR(truncate(a->path, size));
}

long act_open_trunc(struct actor *a, long unused)
{
	long fd = ERR(open(a->path, O_WRONLY | O_TRUNC | O_CLOEXEC));

	(void)unused;
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

long act_punch(struct actor *a, long range)
{
	return ERR(fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     RANGE_OFF(range), RANGE_LEN(range)));
}

long act_collapse(struct actor *a, long range)
{
	return ERR(fallocate(a->fd, FALLOC_FL_COLLAPSE_RANGE, RANGE_OFF(range),
			     RANGE_LEN(range)));
}

long act_insert(struct actor *a, long range)
{
	return ERR(fallocate(a->fd, FALLOC_FL_INSERT_RANGE, RANGE_OFF(range),
			     RANGE_LEN(range)));
}

long act_allocate(struct actor *a, long range)
{
	return ERR(fallocate(a->fd, 0, RANGE_OFF(range), RANGE_LEN(range)));
}

long act_unlink(struct actor *a, long unused)
{
	(void)unused;
	return ERR(unlink(a->path));
}

long act_read_byte(struct actor *a, long off)
{
	unsigned char byte;
	long ret = ERR(pread(a->fd, &byte, 1, off));

	if (ret < 0)
		return ret;
	return ret ? byte : -ENODATA;
}

long act_write_page(struct actor *a, long page)
{
	char buf[PAGE];

	fill(buf, sizeof(buf), page);
	return ERR(pwrite(a->fd, buf, sizeof(buf), page * PAGE));
}

long act_append(struct actor *a, long len)
{
	struct stat st;
	char buf[PAGE];
	long ret = ERR(fstat(a->fd, &st));

	if (ret)
		return ret;
	memset(buf, 'a', sizeof(buf));
	return ERR(pwrite(a->fd, buf, len < PAGE ? len : PAGE, st.st_size));
}

long act_stat_size(struct actor *a, long unused)
{
	struct stat st;
	long ret = ERR(stat(a->path, &st));

	(void)unused;
	return ret ? ret : st.st_size;
}

long act_fsync(struct actor *a, long unused)
{
	(void)unused;
	return ERR(fsync(a->fd));
}

long act_store_page(struct actor *a, long page)
{
	fill(a->map + page * PAGE, PAGE, page);
	return 0;
}

/* The name of a neighbour of the data file. */
static void beside(const struct actor *a, char *buf, size_t size)
{
	snprintf(buf, size, "%.4080s.beside", a->path);
}

long act_ls(struct actor *a, long unused)
{
	char dir[PATH_MAX];
	struct dirent *de;
	long count = 0;
	DIR *d;

	(void)unused;
	snprintf(dir, sizeof(dir), "%s", a->path);
	*strrchr(dir, '/') = '\0';
	d = opendir(dir);
	if (!d)
		return -errno;
	errno = 0;
	while ((de = readdir(d)))
		count++;
	if (errno)
		count = -errno;
	closedir(d);
	return count;
}

long act_create_beside(struct actor *a, long unused)
{
	char path[PATH_MAX];
	long fd;

	(void)unused;
	beside(a, path, sizeof(path));
	fd = ERR(open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

long act_unlink_beside(struct actor *a, long unused)
{
	char path[PATH_MAX];

	(void)unused;
	beside(a, path, sizeof(path));
	return ERR(unlink(path));
}

long act_vmsplice(struct actor *a, long page)
{
	struct iovec iov = { a->map + page * PAGE, PAGE };

	if (a->pipe[0] < 0 && pipe2(a->pipe, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	return ERR(vmsplice(a->pipe[1], &iov, 1, 0));
}

long act_drain(struct actor *a, long unused)
{
	char buf[PAGE];
	long ret, sum = 0;

	(void)unused;
	while ((ret = ERR(read(a->pipe[0], buf, sizeof(buf)))) > 0)
		sum += ret;
	return ret == -EAGAIN ? sum : ret;
}

long act_become(struct actor *a, long uid)
{
	(void)a;
	return ERR(setresgid(uid, uid, uid) || setresuid(uid, uid, uid) ? -1 : 0);
}

long act_pin_with_own_ring(struct actor *a, long which)
{
	long ret = act_ring(a, which);

	return ret ? ret : act_pin(a, which);
}

long act_take_fd(struct actor *a, long as_data)
{
	int fd = recv_fd(passing[1]);

	if (fd < 0)
		return fd;
	if (as_data)
		a->fd = fd;
	else
		a->got_fd = fd;
	return 0;
}

long act_take_ring(struct actor *a, long ring_of)
{
	long fd, pidfd = ERR(syscall(SYS_pidfd_open, ring_of >> 16, 0));

	if (pidfd < 0)
		return pidfd;
	fd = ERR(syscall(SYS_pidfd_getfd, pidfd, ring_of & 0xffff, 0));
	close(pidfd);
	if (fd < 0)
		return fd;
	a->got_fd = fd;
	return 0;
}

/* One request, its completion awaited. */
static long ring_one(struct io_uring *ring)
{
	struct __kernel_timespec limit = { .tv_sec = scaled_ms(REPLY_MS) / 1000 };
	struct io_uring_cqe *cqe;
	int ret = io_uring_submit(ring);

	if (ret < 0)
		return ret;
	ret = io_uring_wait_cqe_timeout(ring, &cqe, &limit);
	if (ret)
		return ret == -ETIME ? -ETIMEDOUT : ret;
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

long ring_write_fixed(struct io_uring *ring, int fd, const void *buf, size_t len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_write_fixed(sqe, fd, buf, len, 0, 0);
	return ring_one(ring);
}

long ring_read_fixed(struct io_uring *ring, int fd, void *buf, size_t len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read_fixed(sqe, fd, buf, len, 0, 0);
	return ring_one(ring);
}

/* ---- other processes ---- */

/*
 * A function pointer means the same in both processes, because the peer is a
 * fork of the one that calls it.
 */
struct request {
	act_fn fn;
	long arg;
};

static void peer_main(int sock, const char *path)
{
	struct request req;
	struct actor a;
	long ret;

	act_init(&a, path);
	while (read(sock, &req, sizeof(req)) == sizeof(req)) {
		ret = req.fn(&a, req.arg);
		if (write(sock, &ret, sizeof(ret)) != sizeof(ret))
			break;
	}
	_exit(0);
}

int peer_start(struct peer *p, const char *path)
{
	pid_t parent = getpid();
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	p->pid = fork();
	if (p->pid < 0)
		return -errno;
	if (p->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(sv[0]);
		peer_main(sv[1], path);
	}
	close(sv[1]);
	p->sock = sv[0];
	return 0;
}

void peer_post(struct peer *p, act_fn fn, long arg)
{
	struct request req = { fn, arg };

	if (write(p->sock, &req, sizeof(req)) != sizeof(req))
		perror("# request to a peer");
}

long peer_answer(struct peer *p, long ms)
{
	struct pollfd pfd = { .fd = p->sock, .events = POLLIN };
	long end = now_ms() + scaled_ms(ms), left, ret;
	int n;

	/* A signal may be what the test is about. */
	do {
		left = end - now_ms();
		n = poll(&pfd, 1, left > 0 ? left : 0);
	} while (n < 0 && errno == EINTR);
	if (n != 1)
		return -ETIMEDOUT;
	if (read(p->sock, &ret, sizeof(ret)) != sizeof(ret))
		return -EPIPE;
	return ret;
}

long peer_call(struct peer *p, act_fn fn, long arg)
{
	peer_post(p, fn, arg);
	return peer_answer(p, REPLY_MS);
}

bool peer_waits_in(struct peer *p, long nr)
{
	char path[64], text[256];

	snprintf(path, sizeof(path), "/proc/%d/syscall", p->pid);
	/* "running" while it runs; the call's number while it sleeps in one. */
	return read_text(path, text, sizeof(text)) > 0 &&
	       text[0] >= '0' && text[0] <= '9' && atol(text) == nr;
}

long load_module_beside(const char *name)
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - strlen(name) - 1);
	long ret;
	int fd;

	if (len < 0)
		return -errno;
	path[len] = '\0';
	strcpy(strrchr(path, '/') + 1, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = ERR(syscall(SYS_finit_module, fd, "", 0));
	close(fd);
	return ret;
}

/* Waits for a child; its status, or -ETIMEDOUT. */
static long reap(pid_t pid, long ms)
{
	int status = 0;

	if (!EVENTUALLY(waitpid(pid, &status, WNOHANG) == pid, ms))
		return -ETIMEDOUT;
	return status;
}

long peer_kill(struct peer *p)
{
	long begin = now_ms(), ret;

	kill(p->pid, SIGKILL);
	ret = reap(p->pid, REPLY_MS);
	close(p->sock);
	p->pid = 0;
	return ret < 0 ? ret : now_ms() - begin;
}

long peer_end(struct peer *p)
{
	long ret;

	/* Not only closed: peers started later have a copy of this end. */
	shutdown(p->sock, SHUT_RDWR);
	close(p->sock);
	ret = reap(p->pid, REPLY_MS);
	p->pid = 0;
	if (ret < 0)
		return ret;
	return WIFEXITED(ret) ? WEXITSTATUS(ret) : -WTERMSIG(ret);
}

long in_fork(act_fn fn, struct actor *a, long arg)
{
	int out[2];
	struct pollfd pfd = { .events = POLLIN };
	long ret = -ETIMEDOUT;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		ret = fn(a, arg);
		_exit(write(out[1], &ret, sizeof(ret)) != sizeof(ret));
	}
	close(out[1]);
	pfd.fd = out[0];
	if (poll(&pfd, 1, scaled_ms(REPLY_MS)) == 1 &&
	    read(out[0], &ret, sizeof(ret)) != sizeof(ret))
		ret = -EPIPE;
	close(out[0]);
	kill(pid, SIGKILL);
	if (reap(pid, REPLY_MS) < 0)
		ret = -ETIMEDOUT;
	return ret;
}

int passing[2] = { -1, -1 };

int make_passing(void)
{
	return ERR(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, passing));
}

/* Room for one descriptor, aligned as the socket calls want it. */
union one_fd {
	char buf[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int send_fd(int sock, int fd)
{
	union one_fd room = { 0 };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = room.buf, .msg_controllen = sizeof(room.buf),
	};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

int recv_fd(int sock)
{
	union one_fd room = { 0 };
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = room.buf, .msg_controllen = sizeof(room.buf),
	};
	struct pollfd pfd = { .fd = sock, .events = POLLIN };
	struct cmsghdr *cm;
	int fd;

	if (poll(&pfd, 1, scaled_ms(REPLY_MS)) != 1)
		return -ETIMEDOUT;
	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -errno;
	cm = CMSG_FIRSTHDR(&msg);
	if (!cm || cm->cmsg_type != SCM_RIGHTS)
		return -EBADMSG;
	memcpy(&fd, CMSG_DATA(cm), sizeof(fd));
	return fd;
}

/* ---- what the kernel shows ---- */

long read_text(const char *path, char *buf, size_t size)
{
	long fd = ERR(open(path, O_RDONLY | O_CLOEXEC));
	size_t have = 0;
	long ret = 0;

	if (fd < 0)
		return fd;
	while (have < size - 1 && (ret = ERR(read(fd, buf + have, size - 1 - have))) > 0)
		have += ret;
	close(fd);
	buf[have] = '\0';
	return ret < 0 ? ret : (long)have;
}

long write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return -errno;
	ret = ERR(write(fd, text, strlen(text)));
	close(fd);
	return ret < 0 ? ret : 0;
}

long break_time(long seconds)
{
	FILE *f = fopen("/proc/sys/fs/lease-break-time", "r+e");
	long was = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%ld", &was) == 1) {
		rewind(f);
		fprintf(f, "%ld", seconds);
	}
	fclose(f);
	return was;
}

long blocks_free(const char *path)
{
	struct statfs fs;
	long ret = ERR(statfs(path, &fs));

	return ret ? ret : (long)fs.f_bfree;
}

long blocks_free_at_rest(const char *path)
{
	long now = blocks_free(path), before, since = now_ms();

	while (now_ms() - since < scaled_ms(50)) {
		nap_ms(5);
		before = now;
		now = blocks_free(path);
		if (now != before)
			since = now_ms();
	}
	return now;
}

long blocks_of(const char *path)
{
	struct stat st;
	long ret = ERR(stat(path, &st));

	return ret ? ret : st.st_blocks;
}

void locks_id(const char *path, char *buf, size_t size)
{
	struct stat st = { 0 };

	stat(path, &st);
	snprintf(buf, size, "%02x:%02x:%llu", major(st.st_dev), minor(st.st_dev),
		 (unsigned long long)st.st_ino);
}

/*
 * MAJ:MIN:INO START END PAGES KIND STATE PIDS PATH: eight fields, one space
 * between two; the path is the rest of the line.
 */
static bool parse_pin_line(const char *line, struct pin_line *p)
{
	char again[sizeof(p->id)];
	unsigned int maj, min;
	unsigned long long ino;
	int at = -1;

	if (sscanf(line, "%63[^ ] %llu %llu %llu %15[^ ] %15[^ ] %255[^ ] %n", p->id, &p->start,
		   &p->end, &p->pages, p->kind, p->state, p->pids, &at) != 7 || at < 0)
		return false;
	/* No padding: fields can be cut at single spaces. */
	if (strstr(line, "  ") && strstr(line, "  ") < line + at)
		return false;
	/* The device as in /proc/self/mountinfo: in decimal, and not padded either. */
	if (sscanf(p->id, "%u:%u:%llu", &maj, &min, &ino) != 3)
		return false;
	snprintf(again, sizeof(again), "%u:%u:%llu", maj, min, ino);
	if (strcmp(again, p->id))
		return false;
	if (p->start >= p->end || !p->pages)
		return false;
	if (strcmp(p->kind, "exclusive") && strcmp(p->kind, "unbreak") && strcmp(p->kind, "-"))
		return false;
	if (strcmp(p->state, "active") && strcmp(p->state, "orphaned"))
		return false;
	if (strcmp(p->pids, "-") && p->pids[strspn(p->pids, "0123456789,")])
		return false;
	snprintf(p->path, sizeof(p->path), "%s", line + at);
	return p->path[0] == '/';
}

/* From the form of /proc/locks, in hexadecimal, to that of the table of pins. */
static void table_id(const char *locks_id, char *buf, size_t size)
{
	unsigned long long ino = 0;
	unsigned int maj = 0, min = 0;

	sscanf(locks_id, "%x:%x:%llu", &maj, &min, &ino);
	snprintf(buf, size, "%u:%u:%llu", maj, min, ino);
}

long pins_of(const char *id, struct pin_line *lines, size_t max, char *bad, size_t bad_size)
{
	FILE *f = fopen("/proc/fs/pinfs/pins", "re");
	char wanted[64] = "";
	char *line = NULL;
	size_t room = 0;
	struct pin_line *p;
	long count = 0, n = 0;

	if (!f)
		return -errno;
	if (id)
		table_id(id, wanted, sizeof(wanted));
	p = malloc(sizeof(*p));
	while (p && getline(&line, &room, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		/* One header line, and it is the first. */
		if ((n++ == 0) != (line[0] == '#') || (line[0] != '#' && !parse_pin_line(line, p))) {
			if (bad)
				snprintf(bad, bad_size, "%s", line);
			count = -EBADMSG;
			break;
		}
		if (line[0] == '#' || (id && strcmp(p->id, wanted)))
			continue;
		if ((size_t)count < max)
			lines[count] = *p;
		count++;
	}
	if (!n && bad)
		snprintf(bad, bad_size, "(no header line)");
	free(p);
	free(line);
	fclose(f);
	return n ? count : -EBADMSG;
}

bool pids_have(const char *pids, pid_t pid)
{
	char want[32], have[260];

	snprintf(want, sizeof(want), ",%d,", pid);
	snprintf(have, sizeof(have), ",%s,", pids);
	return strstr(have, want) != NULL;
}

void fill(void *buf, size_t len, unsigned int seed)
{
	unsigned int *word = buf;

	for (size_t i = 0; i < len / sizeof(*word); i++)
		word[i] = seed * 2654435761u + i;
}

bool filled(const void *buf, size_t len, unsigned int seed)
{
	const unsigned int *word = buf;

	for (size_t i = 0; i < len / sizeof(*word); i++)
		if (word[i] != seed * 2654435761u + (unsigned int)i)
			return false;
	return true;
}

bool all_zero(const void *buf, size_t len)
{
	const char *c = buf;

	return len == 0 || (c[0] == 0 && !memcmp(c, c + 1, len - 1));
}

long make_file(const char *path, long pages, unsigned int seed)
{
	long fd = ERR(open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
	char *buf;
	long ret;

	if (fd < 0)
		return fd;
	buf = malloc(pages * PAGE);
	fill(buf, pages * PAGE, seed);
	ret = ERR(write(fd, buf, pages * PAGE));
	free(buf);
	close(fd);
	if (ret < 0)
		return ret;
	return ret == pages * PAGE ? 0 : -ENOSPC;
}

/* How many bytes of a range of memory are in pages that are all of what is asked for. */
static long bytes_of(const char *start, long len, unsigned long categories)
{
	struct page_region region;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (unsigned long)start,
		.end = (unsigned long)start + len,
		.vec = (unsigned long)&region,
		.vec_len = 1,
		.category_mask = categories,
		.return_mask = categories,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long found, sum = 0;

	if (fd < 0)
		return -errno;
	/* One region at a time, until none is left. */
	while ((found = ERR(ioctl(fd, PAGEMAP_SCAN, &arg))) > 0) {
		sum += region.end - region.start;
		arg.start = arg.walk_end;
	}
	close(fd);
	return found < 0 ? found : sum;
}

long mapped_bytes(const char *start, long len)
{
	return bytes_of(start, len, PAGE_IS_PRESENT);
}

long huge_bytes(const char *start, long len)
{
	return bytes_of(start, len, PAGE_IS_HUGE | PAGE_IS_PRESENT);
}

const char *test_dir(char *dir, size_t size)
{
	const char *mnt = getenv("PINFS_MNT");
	struct statfs fs;

	if (geteuid())
		return "not root";
	if (!mnt)
		return "PINFS_MNT is not set: no pinfs mounted for the tests";
	if (statfs(mnt, &fs))
		return "PINFS_MNT cannot be looked at";
	/* PINFS_ANY_FS lets the generic cases be tried on another file system. */
	if (fs.f_type != PINFS_SUPER_MAGIC && !getenv("PINFS_ANY_FS"))
		return "PINFS_MNT is not on pinfs (is the module loaded and the device mounted?)";
	snprintf(dir, size, "%s/test.XXXXXX", mnt);
	return mkdtemp(dir) ? NULL : "no directory can be made in PINFS_MNT";
}

const char *test_mnt, *test_dev;

bool test_device(void)
{
	test_mnt = getenv("PINFS_MNT");
	test_dev = getenv("PINFS_DEV");
	return test_mnt && test_dev;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void remove_tree(const char *dir)
{
	nftw(dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

int disk_file(char *name)
{
	int fd = mkstemp(name);

	if (fd < 0)
		return -1;
	close(fd);
	fd = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
	unlink(name);
	return fd;
}
