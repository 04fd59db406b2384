#include "sieve.h"

void sieve(unsigned char *composite, size_t limit)
{
    composite[0] = 1;
    if (limit >= 1)
        composite[1] = 1;
    for (size_t n = 2; n * n <= limit; n++)
        if (!composite[n])
            for (size_t multiple = n * n; multiple <= limit; multiple += n)
                composite[multiple] = 1;
}
