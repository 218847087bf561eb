/*
 * The lease of src/lease/keeper.ts as a model for spin: two machines, one register that is changed by compare-and-set, requests and
 * answers that are lost, writes that land late, a clock tick that one machine misses and one that it counts twice, an engine that
 * forgets. Asserted in every state: not both workers run. The worker of machine i runs while rem[i] > 0.
 *
 *   spin -a lease.pml && gcc -O2 -DSAFETY -DCOLLAPSE -DNOREDUCE -w -o pan pan.c && ./pan -m20000
 *
 * test/thorough/lease-model.test.ts runs it, and breaks one rule at a time (-DBUG_…), which must give an error each: a model that cannot fail
 * proves nothing. The same names stand in test/simulation/rules/keeper.txt.
 */
#ifndef T
#define T 4         /* waitMs: a standby waits T of its own ticks after it FIRST saw a record */
#endif
#ifdef BUG_MARGIN
#define D T         /* no room for drift */
#else
#define D (T-2)     /* stopAfterMs: the holder may act for D of its own ticks after it SENT the write */
#endif
#ifndef MAXR
#define MAXR 5      /* writes per run */
#endif
#define NONE 2
#define VAC 3       /* marks an absence: nobody's, and waited for */
#ifndef LOSSES
#define LOSSES 1
#endif
#define UNK 15
#ifdef BUG_BLIND
#define MATCH(e) true
#else
#define MATCH(e) (rrev==(e))
#endif
/* rem: ticks left of the term; age: ticks since the record was first seen; sage: ticks since the request was sent;
   pk: the one request: 0 none, 2 take or renew, 3 free; prep: the register has handled it; z: a write that may land late */
byte rem[2], age[2], sage[2], myrev[2], seen[2]=UNK, pexp[2], prev_[2], phold[2], zexp[2], pk[2];
bool fr[2], prep[2], pok[2], z[2], slow, fast, tmp;
byte lost;
byte rrev=1, rhold=NONE, nrev=2;    /* the register; rrev 0 = record absent */
#ifdef ASK
/* A standby writes its wish for a hand-over into the record of the holder: a new revision, but no other record. */
byte rbase=1, srev[2];
bool asked;
#define BASE rbase
#define REBASE rbase=nrev;
#define UNBASE rbase=0;
#define LOOK(i) srev[i]=rrev;
#define AT(i) srev[i]
#else
#define BASE rrev
#define REBASE
#define UNBASE
#define LOOK(i)
#define AT(i) seen[i]
#endif
#ifdef ROLL
byte orev=1, ohold=NONE; bool rolled;   /* the record before the last write, for a failover that loses it */
#define KEEP orev=rrev; ohold=rhold;
#else
#define KEEP
#endif
#define MIN(a,b) ((a)<(b) -> (a) : (b))
#define SUB(a,b) ((a)>(b) -> (a)-(b) : 0)
/* What has vanished is not taken: it is marked first. */
#ifdef BUG_ABSENT
#define RIPE(i) (fr[i] || age[i]>=T || seen[i]==0)
#else
#ifdef BUG_ABSENCE
#define RIPE(i) (fr[i] || age[i]>=T)
#else
#define RIPE(i) (seen[i]!=0 && (fr[i] || age[i]>=T))
#endif
#endif
inline write(e,h,okv){ if :: MATCH(e) && nrev<MAXR -> KEEP rrev=nrev; REBASE rhold=h; nrev++; okv=true :: else -> okv=false fi }
inline forget(i){ seen[i]=UNK; age[i]=0; fr[i]=false }
inline done(i){ pk[i]=0; prep[i]=false; pexp[i]=0; sage[i]=0; prev_[i]=0; phold[i]=0; pok[i]=false }
inline halt(i){ rem[i]=0; myrev[i]=0; forget(i) }
inline step(i,k){ rem[i]=SUB(rem[i],k); if :: seen[i]!=UNK -> age[i]=MIN(T,age[i]+k) :: else fi;
                  if :: pk[i]==2 -> sage[i]=MIN(D,sage[i]+k) :: else fi; if :: rem[i]==0 -> myrev[i]=0 :: else fi }
inline adv(i){ if :: step(i,1) :: !slow -> slow=true :: !fast -> fast=true; step(i,2) fi }
inline node(i){ if
  :: !rem[i] && pk[i]==0 -> if :: seen[i]!=BASE -> seen[i]=BASE;              /* a standby reads; a new record restarts the wait */
#ifndef BUG_NORESET
        age[i]=0
#endif
        :: else fi; LOOK(i)
        fr[i]=(rrev!=0 && (rhold==NONE || rhold==i))                          /* free, or our own write whose answer was lost */
#ifndef BUG_ABSENCE
  :: !rem[i] && pk[i]==0 && seen[i]==0 && rrev==0 && nrev<MAXR ->             /* marks an absence before it waits */
        KEEP rrev=nrev; REBASE rhold=VAC; nrev++
#endif
  :: !rem[i] && pk[i]==0 && seen[i]!=UNK && RIPE(i) -> pk[i]=2; sage[i]=0; pexp[i]=AT(i)                                /* take */
  :: rem[i] && pk[i]==0 -> pk[i]=2; sage[i]=0; pexp[i]=myrev[i]               /* renew */
#ifdef BUG_REAP
  :: rem[i] && pk[i]==0 -> pk[i]=3; pexp[i]=myrev[i]                          /* frees it while its worker lives */
#else
  :: rem[i] && pk[i]==0 -> pk[i]=3; pexp[i]=myrev[i]; halt(i)                 /* hand over: worker dead first, then free */
#endif
#ifdef ASK
  :: !rem[i] && pk[i]==0 && !asked && seen[i]!=UNK && seen[i]!=0 && rhold==1-i && srev[i]==rrev && nrev<MAXR ->
        asked=true; rrev=nrev; nrev++; srev[i]=rrev                           /* asks the holder to hand over */
#endif
  :: pk[i]==2 && !prep[i] -> write(pexp[i],i,pok[i]); prep[i]=true; prev_[i]=rrev; phold[i]=rhold
  :: pk[i]==3 -> write(pexp[i],NONE,tmp); tmp=false; done(i)
  :: pk[i]==2 && prep[i] -> if                                                /* the answer arrives */
#ifdef BUG_RECV
        :: pok[i] -> forget(i); rem[i]=D; myrev[i]=prev_[i]
#else
        :: pok[i] && sage[i]<D -> forget(i); rem[i]=D-sage[i]; myrev[i]=prev_[i]
#endif
        :: !pok[i] && rem[i] && (phold[i]==i || phold[i]==VAC || prev_[i]==0) -> myrev[i]=prev_[i]; /* own late write, a wish, or data loss: write again */
#ifdef BUG_SIGHT
           if :: phold[i]==i -> rem[i]=D :: else fi                           /* counts from the sight of its own name */
#endif
        :: else -> halt(i) fi; done(i)
  :: pk[i]==2 && !prep[i] && !z[i] -> z[i]=true; zexp[i]=pexp[i]; done(i)     /* timed out; may still land later */
  :: pk[i]!=0 -> done(i)                                                      /* request or answer lost */
  :: z[i] -> write(zexp[i],i,tmp); tmp=false; z[i]=false; zexp[i]=0
  fi }
init { do
  :: atomic { node(0); assert(!(rem[0] && rem[1])) }
  :: atomic { node(1); assert(!(rem[0] && rem[1])) }
#ifdef LOSS
  :: atomic { lost<LOSSES && rrev!=0 -> lost++; rrev=0; UNBASE rhold=NONE }
#endif
#ifdef ROLL
  :: atomic { !rolled && rrev!=orev -> rolled=true; rrev=orev; rhold=ohold }
#endif
  :: atomic { true ->
#ifdef PAUSE
       if :: rem[0] -> skip :: else -> adv(0) fi; adv(1)                      /* machine 0 frozen, its worker not: its timer stops */
#else
       adv(0); adv(1)
#endif
       }
  od }
