/* SPDX-License-Identifier: MIT */
/*
 * Model of faults without space->lock: V1 and V2 of fault_view.h, for two areas of one page each whose entries lie in the same
 * page table. A thread faults in the first one without the lock, another unmaps it and may map the address again and fault
 * there with the lock; a third does the same with the second area, or forks: shares the table with another space, and makes it
 * own again. Tables come and go: each has a number of its own, and is freed when no fault is under way that was when it left.
 *
 * Checked: nobody takes the lock of a table that was freed; a fault without the lock writes only to the table that is in use,
 * while no other space has it, and while the area's backing is there; a table that is freed has no entries; in the end
 * none is left where nothing is mapped, and no table without entries.
 */

#define AREAS  2
#define LEAVES 255
#define TABLES 8 /* 0: none */

bool locked;               /* space->lock for writing; faults with the lock take it so, too */
byte hold = 1;             /* space->write_hold */
byte changed_in[AREAS];
bool mapped[AREAS];        /* the area is in the tree */
bool closed[AREAS];        /* its backing was given back */
byte table, made;          /* what the upper entry says; how many tables there were */
bool shared;               /* and whether another space has it, too */
bool table_locked[TABLES];
bool dead[TABLES];         /* refcount 0 */
bool freed[TABLES];
bool entry[16];            /* [table * AREAS + area] */
bool inside;               /* the fault's RCU section */
byte done;

#define LOCK   atomic { !locked -> locked = true }
/* space_write_unlock() */
#define UNLOCK atomic { hold++; locked = false }
#define TABLE_LOCK(t)   atomic { !table_locked[t] -> assert(!freed[t]); table_locked[t] = true }
#define TABLE_UNLOCK(t) assert(!freed[t]); table_locked[t] = false
#define CHANGE(i) changed_in[i] = hold

proctype Fault(byte i)
{
    byte seen, followed;
    inside = true;
    seen = changed_in[i]; /* of an area that was in the tree once */
    if
    :: seen >= hold -> goto out
    :: else
    fi;
    atomic { followed = (shared -> 0 : table) };
    if
    :: followed == 0 -> goto out
    :: else
    fi;
    TABLE_LOCK(followed);
    if
    :: !dead[followed] && changed_in[i] == seen ->
       assert(followed == table && !shared);
       assert(!closed[i]);
       entry[followed * AREAS + i] = true;
       assert(followed == table && !shared);
       assert(!closed[i])
    :: else
    fi;
    TABLE_UNLOCK(followed);
out:
    inside = false;
    done++
}

/* A grace period, then the table is free. */
proctype Callback(byte t)
{
    !inside;
    atomic { assert(!table_locked[t] && !entry[t * AREAS] && !entry[t * AREAS + 1]); freed[t] = true };
    done++
}

/* shared_table_own(): this space goes on with a copy, the other one has the old table for ever. */
inline own()
{
    if
    :: shared ->
       atomic { /* both tables' locks */
           made++;
           assert(made < TABLES);
           entry[made * AREAS] = entry[table * AREAS];
           entry[made * AREAS + 1] = entry[table * AREAS + 1];
           table = made;
           shared = false
       }
    :: else
    fi
}

proctype Mapper(byte i)
{
    byte t;
    LOCK;
    own();
    changed_in[i] = LEAVES;
    atomic { mapped[i] = false; t = table }
    if
    :: t != 0 ->
       TABLE_LOCK(t); /* zap */
       entry[t * AREAS + i] = false;
       TABLE_UNLOCK(t)
    :: else
    fi;
    if
    :: t != 0 && !entry[t * AREAS] && !entry[t * AREAS + 1] -> /* trim */
       TABLE_LOCK(t);
       if
       :: !entry[t * AREAS] && !entry[t * AREAS + 1] -> dead[t] = true; table = 0
       :: else
       fi;
       TABLE_UNLOCK(t);
       if
       :: dead[t] -> run Callback(t)
       :: else -> done++
       fi
    :: else -> done++
    fi;
    closed[i] = true;
    UNLOCK;
    if
    :: true -> goto out
    :: atomic { !locked -> locked = true; closed[i] = false; CHANGE(i) }
    fi;
    mapped[i] = true;
    UNLOCK;
    LOCK; /* a fault with the lock */
    own();
    if
    :: table == 0 -> made++; assert(made < TABLES); table = made
    :: else
    fi;
    atomic { !table_locked[table] -> entry[table * AREAS + i] = true };
    locked = false;
out:
    done++
}

inline change_mapped(i)
{
    if
    :: mapped[i] -> CHANGE(i)
    :: else
    fi
}

/* Shares the table, and then makes it own. */
proctype Fork()
{
    byte t;
    LOCK;
    change_mapped(0);
    change_mapped(1);
    t = table;
    if
    :: t != 0 ->
       !table_locked[t]; /* page_table_settle() */
       shared = true
    :: else
    fi;
    UNLOCK;
    LOCK; /* a fault with the lock */
    own();
    locked = false;
    done++
}

init {
    byte i;
    atomic {
        made = 1;
        table = 1;
        mapped[0] = true;
        mapped[1] = true;
        if /* touched, or not */
        :: entry[1 * AREAS + 1] = true
        :: true
        fi;
        entry[1 * AREAS] = true;
        run Fault(0);
        run Mapper(0);
        if /* all three at once are too many executions */
        :: run Mapper(1)
        :: run Fork(); done++
        fi
    }
    done == 5;
    atomic {
        do
        :: i < AREAS ->
           assert(table == 0 || mapped[i] || !entry[table * AREAS + i]);
           i++
        :: else -> break
        od;
        assert(table == 0 || entry[table * AREAS] || entry[table * AREAS + 1])
    }
}
