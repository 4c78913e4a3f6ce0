/* The least that restarts a process: wait on its pidfd, reap, start again. pidfd_loop PROGRAM ARGUMENTS... */
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    for (;;) {
        pid_t pid = fork();
        if (pid == 0) {
            setsid();
            execv(argv[1], argv + 1);
            _exit(127);
        }
        struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
        poll(&end, 1, -1);
        close(end.fd);
        waitpid(pid, 0, 0);
    }
}
