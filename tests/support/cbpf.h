/* SPDX-License-Identifier: MIT */
/*
 * What the kernel does with a program of hr_steer_attach(), for tests that want every draw instead of a lucky one: the few
 * instructions that it may consist of, and a list of draws in the place of the kernel's random numbers.
 */
#pragma once

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

enum { CBPF_WRONG = -1 }; /* an instruction that the program should not have, a jump out of it, no draw left */

static inline long cbpf_run(const struct sock_filter *code, size_t n, const uint32_t *draws, size_t n_draws)
{
        size_t drawn = 0;
        uint32_t a = 0;

        for (size_t i = 0; i < n; i++) {
                const struct sock_filter *f = &code[i];

                switch (f->code) {
                case BPF_LD | BPF_W | BPF_ABS:
                        if (f->k != (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM) || drawn == n_draws)
                                return CBPF_WRONG;
                        a = draws[drawn++];
                        break;
                case BPF_ALU | BPF_MOD | BPF_K:
                        if (f->k == 0)
                                return CBPF_WRONG;
                        a %= f->k;
                        break;
                case BPF_ALU | BPF_ADD | BPF_K:
                        a += f->k;
                        break;
                case BPF_JMP | BPF_JGE | BPF_K:
                        i += a >= f->k ? f->jt : f->jf;
                        break;
                case BPF_JMP | BPF_JA:
                        i += f->k;
                        break;
                case BPF_RET | BPF_A:
                        return (long)a;
                default:
                        return CBPF_WRONG;
                }
        }
        return CBPF_WRONG;
}
