/* SPDX-License-Identifier: MIT */
/*
 * Model of unmappings that give the space's lock up: R1 to R3 of unmap.c, for two areas of one page each whose entries lie in
 * the same page table. Each has a thread that unmaps it, another that maps the same address as soon as it is free and touches it,
 * and a processor that may put the entry into its TLB at any time. Tables come and go: each has a number of its own.
 *
 * Checked: nobody follows a table that was freed; a program never uses an entry whose page is free; a new mapping does not
 * meet the old page; in the end no empty table is left.
 *
 * Steps between two statements of a lock's holder are visible to those who do not take the lock, as in the code.
 */

#define AREAS  2
#define TABLES 5 /* 0: none */

bool locked;                  /* space->lock, for writing; faults are short here, so they take it so too */
byte table = 1, made = 1;     /* what the upper entry says; how many tables there were */
bool table_freed[TABLES];
byte page[AREAS];             /* entries of the current table: 0, or 1 (old page), 2 (new page) */
bool mapped[AREAS];           /* an area is in the tree, leaving or not */
bool leaving[AREAS];
bool walking[AREAS];          /* on space->unmappings */
bool trim[AREAS];
byte tlb[AREAS];
bool old_freed[AREAS];
byte done;

#define LOCK   atomic { !locked -> locked = true }
#define UNLOCK locked = false

/* page_table_trim() for area i: the table goes to `gathered`, unless the other one walks it. */
inline try_trim(i)
{
    if
    :: table != 0 && page[0] == 0 && page[1] == 0 ->
       if
       :: walking[1 - i] -> trim[1 - i] = true
       :: else -> gathered = table; table = 0
       fi
    :: else
    fi
}

inline flush_and_free(i)
{
    tlb[i] = 0;
    if
    :: gathered != 0 -> table_freed[gathered] = true; gathered = 0
    :: else
    fi
}

proctype Unmapper(byte i)
{
    byte followed, gathered;
    bool emptied;
    LOCK;
    leaving[i] = true;
    walking[i] = true;
    UNLOCK;
    /* the walk, without the lock */
    followed = table;
    if
    :: followed != 0 ->
       assert(!table_freed[followed]);
       atomic { /* the table's lock */
           assert(!table_freed[followed]);
           if
           :: followed == table -> page[i] = 0; emptied = (page[1 - i] == 0)
           :: else
           fi
       }
       assert(!table_freed[followed]) /* gives that lock back, looks for the next one */
    :: else
    fi;
    if
    :: emptied ->
       LOCK;
       walking[i] = false;
       try_trim(i);
       UNLOCK
    :: else
    fi;
    flush_and_free(i);
    old_freed[i] = true;
    LOCK;
    if
    :: walking[i] ->
       walking[i] = false;
       if
       :: trim[i] -> try_trim(i)
       :: else
       fi
    :: else
    fi;
    leaving[i] = false;
    mapped[i] = false;
    UNLOCK;
    flush_and_free(i);
    done++
}

/* Maps the addresses of area i when they are free, and touches them; or does not. */
proctype Mapper(byte i)
{
    byte seen;
    if
    :: true -> goto out
    :: atomic { !locked && !mapped[i] -> locked = true }
    fi;
    mapped[i] = true;
    UNLOCK;
    LOCK; /* the fault */
    if
    :: table == 0 -> made++; assert(made < TABLES); table = made
    :: else
    fi;
    page[i] = 2;
    UNLOCK;
    atomic {
        seen = (tlb[i] != 0 -> tlb[i] : page[i]);
        assert(seen == 2)
    };
    LOCK; /* and unmaps it, in one piece */
    page[i] = 0;
    tlb[i] = 0;
    mapped[i] = false;
    if
    :: table != 0 && page[0] == 0 && page[1] == 0 ->
       if
       :: walking[1 - i] -> trim[1 - i] = true
       :: else -> table_freed[table] = true; table = 0
       fi
    :: else
    fi;
    UNLOCK;
out:
    done++
}

active proctype Processor()
{
end:
    do
    :: atomic { tlb[0] == 0 && page[0] != 0 -> tlb[0] = page[0] }
    :: atomic { tlb[1] == 0 && page[1] != 0 -> tlb[1] = page[1] }
    :: atomic { tlb[0] == 1 -> assert(!old_freed[0]) }
    :: atomic { tlb[1] == 1 -> assert(!old_freed[1]) }
    :: done == 4 -> assert(table == 0); break
    od
}

init {
    atomic {
        page[0] = 1;
        if /* touched, or not */
        :: page[1] = 1
        :: page[1] = 0
        fi;
        mapped[0] = true;
        mapped[1] = true;
        run Unmapper(0);
        run Unmapper(1);
        run Mapper(0);
        run Mapper(1)
    }
}
