/* A service that does nothing: it says when it started, by datagram, and sleeps.
 * beacon SOCKET [PIDFILE] */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (argc > 2) {
        FILE *file = fopen(argv[2], "w");
        if (file) {
            fprintf(file, "%d\n", getpid());
            fclose(file);
        }
    }
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char text[96];
    if (argc > 1 && strlen(argv[1]) < sizeof to.sun_path) {
        strcpy(to.sun_path, argv[1]);
        int length = snprintf(text, sizeof text, "%d %lld", getpid(), now.tv_sec * 1000000000LL + now.tv_nsec);
        int voice = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sendto(voice, text, length, 0, (struct sockaddr *)&to, sizeof to);
        close(voice);
    }
    for (;;) pause();
}
