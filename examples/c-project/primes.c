#include <stdio.h>
#include <stdlib.h>

#include "sieve.h"

int main(int argc, char **argv)
{
    long limit = argc > 1 ? strtol(argv[1], NULL, 10) : 100;
    if (limit < 0 || limit > 100000000) {
        fprintf(stderr, "primes: a limit from 0 to 100000000, not %s\n", argv[1]);
        return 2;
    }
    unsigned char *composite = calloc((size_t)limit + 1, 1);
    if (!composite) {
        perror("primes");
        return 1;
    }
    sieve(composite, (size_t)limit);
    for (long n = 0; n <= limit; n++)
        if (!composite[n])
            printf("%ld\n", n);
    free(composite);
    return 0;
}
