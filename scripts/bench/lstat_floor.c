/* The physical floor of a look at an unchanged tree: one lstat for each known name, and nothing else.
   Arguments: the root, and a file of paths relative to it, each ended by NUL. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct stat st;
    if (argc != 3) return 2;
    int list = open(argv[2], O_RDONLY), root = open(argv[1], O_RDONLY | O_DIRECTORY);
    if (list < 0 || root < 0 || fstat(list, &st) != 0) return 1;
    const long size = st.st_size;
    char *names = malloc(size);
    if (names == NULL || read(list, names, size) != size) return 1;
    long seen = 0;
    for (char *name = names; name < names + size; name += strlen(name) + 1)
        seen += fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    printf("%ld\n", seen);
    return 0;
}
