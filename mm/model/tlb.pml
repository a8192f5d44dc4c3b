/* SPDX-License-Identifier: MIT */
/*
 * Model of the TLB generations in tlb.c: T1 to T3 of its theory, for one address space, one CPU that unmaps, and one that
 * runs the space, goes lazy, runs another space, and comes back.
 *
 * The unmapping CPU takes page 1 out of the page table, then, if page 2 has been put in, that one; each time it does what
 * tlb_flush_space() does and frees the page. The other CPU's processor may fill its TLB from the table whenever the table
 * is loaded, also speculatively while it is lazy, and keeps entries over switches (PCID). It may be stopped between any
 * two steps. Its interrupts are off while it switches.
 *
 * Checked: a program never uses an entry whose page is free.
 *
 * The model is sequentially consistent. Where the code relies on the order of a store and a later load it has a full fence
 * between them.
 */

#define PAGES 3 /* 0: none */
#define STEPS 6

byte pte = 1;        /* the page that is mapped */
byte generation = 1;
bool freed[PAGES];
bool in_cpus = true; /* the bit of the other CPU in space->cpus */
bool lazy;           /* its tlb_state.lazy */
bool interrupt, acknowledged;

byte tlb_page;       /* what the other CPU's TLB holds for this space */
byte slot_generation = 1;
bool loaded = true;  /* its CR3 names this space */

proctype Unmapper()
{
    byte page;
    bool tell;
    do
    :: pte != 0 ->
       page = pte;
       pte = 0;
       generation++;
       /* full fence: T2 */
       tell = in_cpus;
       if
       :: tell -> tell = !lazy
       :: else
       fi;
       if
       :: tell ->
          acknowledged = false;
          interrupt = true;
          acknowledged
       :: else
       fi;
       freed[page] = true;
       if
       :: page == 1 -> pte = 2
       :: else -> break
       fi
    od
}

/* The processor walks the table: at any time while it is loaded. */
active proctype Walker()
{
end:
    do
    :: atomic { loaded && pte != 0 && tlb_page == 0 -> tlb_page = pte }
    od
}

inline flush_if_behind()
{
    seen = generation;
    if
    :: slot_generation != seen -> tlb_page = 0; slot_generation = seen
    :: else
    fi
}

proctype Other()
{
    byte step, seen;
    bool uses = true; /* a program's thread runs */
    do
    :: interrupt ->
       /* mm_flush_local(): a flush of a range leaves the slot (T3) */
       interrupt = false;
       seen = generation;
       if
       :: loaded && slot_generation != seen -> tlb_page = 0
       :: else
       fi;
       acknowledged = true
    :: step < STEPS && !interrupt ->
       step++;
       if
       :: uses -> /* an access */
          atomic {
              if
              :: tlb_page != 0 -> assert(!freed[tlb_page])
              :: else
              fi
          }
       :: uses -> lazy = true; uses = false
       :: !uses && loaded && lazy -> /* leave_lazy() */
          lazy = false;
          /* full fence: T2's other side */
          flush_if_behind();
          uses = true
       :: loaded -> /* load() of another space */
          loaded = false;
          in_cpus = false;
          lazy = false;
          uses = false
       :: !loaded -> /* load() of this one */
          lazy = false;
          in_cpus = true;
          /* full fence: T1 */
          seen = generation;
          if
          :: slot_generation != seen -> atomic { tlb_page = 0; loaded = true }
          :: else -> loaded = true
          fi;
          slot_generation = seen;
          uses = true
       fi
    :: step == STEPS && !interrupt && pte == 0 && freed[2] -> break
    od
}

init {
    atomic {
        run Unmapper();
        run Other()
    }
}
