#ifndef SIEVE_H
#define SIEVE_H

#include <stddef.h>

/* Marks in composite[0..=limit] every number that is not prime; the caller provides limit + 1 zeroed bytes. */
void sieve(unsigned char *composite, size_t limit);

#endif
