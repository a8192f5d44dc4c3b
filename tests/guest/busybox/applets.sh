# SPDX-License-Identifier: MIT
#
# Claim: busybox's applets work. Method: `t NAMES COMMAND [STATUS]` runs one command line that uses the
# applets NAMES, prints what it prints and its exit status, and fails the test if that is not STATUS (0).
# Everything printed must be the same on every run and every kernel. Run in an empty directory.

mkdir bin etc work && /bin/busybox --install -s "$PWD/bin" || exit 1
PATH=$PWD/bin
export PATH
used=$PWD/used
output=$PWD/output
: >"$used"
cd work || exit 1
failed=0

t() {
    echo "== $2"
    (eval "$2") >"$output" 2>&1
    status=$?
    sed '/^Terminated$/d' "$output" # the shell says so of its jobs, sooner or later
    if [ "$status" != "${3:-0}" ]; then
        echo "FAIL: status $status, want ${3:-0}"
        failed=$((failed + 1))
    fi
    for name in $1; do
        echo "$name" >>"$used"
    done
}

# Text.
t echo 'echo one two'
t printf 'printf "%s|%5d|%-5x|%o|%c|%e\n" text 42 255 8 q 1.5'
printf 'pear 3\napple 1\nfig 2\napple 1\nbanana 10\n' >in
t cat 'cat -n in'
t cat 'cat in - <in | wc -c'
t tac 'tac in'
t rev 'rev in'
t head 'head -n 2 in; head -c 7 in; echo; head -n -3 in'
t tail 'tail -n 2 in; tail -c 5 in; tail -n +4 in'
t cut 'cut -d " " -f 2 in; cut -c 1-3 in'
t paste 'paste -d : in in; paste -s in'
t sort 'sort in; sort -k2n in; sort -ru in; sort -t " " -k 2,2nr in'
t uniq 'sort in | uniq -c; sort in | uniq -d; sort in | uniq -u'
t wc 'wc in; wc -lwcL <in'
t tr 'tr a-z A-Z <in; tr -d aeiou <in; tr -s p <in; echo a-b | tr -c a-z .; echo'
t sed 'sed -n "2,4p" in; sed "s/\(a\)\(p*\)/\2\1/g;3d;\$a end" in; sed -i s/fig/date/ in; cat in; sed y/abc/xyz/ in'
t awk "awk '{ s += \$2; n[\$1]++ } END { print s, length(n), n[\"apple\"], toupper(\"x\"), substr(\"hello\", 2, 3), sprintf(\"%.2f\", 10 / 3) }' in"
t awk "awk -F: -v v=7 'BEGIN { while ((\"echo a b\" | getline line) > 0) print line, v; printf \"%d %s\\n\", 2 * 10, match(\"foobar\", /o+/) RSTART RLENGTH; exit 3 }'" 3
t grep 'grep -n apple in; grep -c p in; grep -v a in; grep -i PEAR in; grep -o "a[a-z]" in'
t grep 'grep -q nothing in' 1
t egrep 'egrep "^(pear|date) [0-9]+$" in'
t fgrep 'fgrep "e 1" in'
t nl 'nl in; nl -b a -w 3 in'
t od 'printf "\000\001hello\377" | od -c; printf abcd | od -A d -t x1; printf abcdefgh | od -An -tu4'
t hexdump 'printf "some bytes\n" | hexdump -C; printf ab | hexdump'
t xxd 'printf "some bytes\n" | xxd; printf 4142430a | xxd -r -p; printf xyz | xxd -p'
t fold 'echo "a line that is folded at ten" | fold -w 10; echo "fold at spaces here" | fold -s -w 8'
t expand 'printf "a\tb\n" | expand -t 4 | cat -A'
t unexpand 'printf "        b\n" | unexpand | cat -A'
t tee 'echo copied | tee one two; cat one two'
t strings 'printf "\001\002visible\003no\000another one\n" | strings'
t seq 'seq 3; seq 2 3 11; seq -s , 5; seq -w 8 10; seq 5 -2 1'
t shuf 'seq 20 | shuf | sort -n | tr "\n" " "; echo; seq 9 | shuf -n 4 | wc -l'
t factor 'factor 1 97 360 1000000007 18446744073709551557'
t expr 'expr 3 + 4 \* 2; expr length hello; expr hello : "h\(.*\)l"; expr substr abcdef 2 3; expr 1 \> 2' 1
t base64 'echo "encode me, please" | base64; echo aGVsbG8K | base64 -d'
t "uuencode uudecode" 'echo "uu text" | uuencode name; echo "uu text" | uuencode decoded | uudecode; cat decoded'
t md5sum 'md5sum in; md5sum in >sums; md5sum -c sums'
t sha1sum 'sha1sum <in'
t sha256sum 'sha256sum <in'
t sha512sum 'sha512sum <in'
t sha3sum 'sha3sum <in'
t crc32 'crc32 in'
t dos2unix 'printf "a\r\nb\r\n" >dos; dos2unix dos; cat -v dos'
t unix2dos 'printf "a\nb\n" >unix; unix2dos unix; cat -v unix'
t ts 'seq 3 | ts "%Y" | wc -l'
t cmp 'cmp in in; cp in other; echo x >>other; cmp in other' 1
t diff 'diff in other' 1
t diff 'diff -u -L a -L b in other' 1
t patch 'diff -u -L in -L in in other >change; cp in patched; patch patched change; cmp patched other; patch -R patched change; cmp patched in'
t ed 'printf "2d\n1i\ninserted\n.\n,p\nw\nq\n" | ed patched'
t bc 'echo "scale=10; 4*a(1); 2^100; sqrt(2)" | bc -l'
t dc 'echo "10 3 / p 2 8 ^ p [text]p" | dc'
t cal 'cal 2 2024; cal -j 12 2023'
t date 'date -u -d @0; date -u -d "2000-02-29 12:34:56" +%s; date -u -d @951827696 "+%A %j %U %Y-%m-%dT%H:%M:%S"'
t more 'more in'
t less 'less in | head -n 1'

# Files.
t mkdir 'mkdir -p a/b/c; mkdir -m 700 private; mkdir a' 1
t touch 'touch -d "2001-02-03 04:05:06" a/file; touch -c missing; touch -r a/file a/same; stat -c "%Y %n" a/file a/same'
t ls 'ls -1; ls -la a | sed "s/  */ /g" | cut -d " " -f 1-3,5,9-; ls -1F; ls -R a; ls -d private; ls missing' 1
t cp 'cp -r a copy; cp in a/b; ls copy a/b; cp -p a/file kept; stat -c "%y" kept; cp a nowhere' 1
t mv 'mv kept moved; mv moved a; ls a; mv -n in other; mv missing x' 1
t ln 'ln in hard; ln -s in soft; ln -sf other soft; ls -l soft | sed "s/.*soft/soft/"; stat -c "%h" in'
t link 'link in linked; stat -c %h linked'
t unlink 'unlink linked; unlink linked' 1
t readlink 'readlink soft; readlink -f a/../soft | sed "s/.*work/work/"; readlink in' 1
t realpath 'realpath a/b/../file | sed "s/.*work/work/"'
t basename 'basename /usr/lib/x.so .so; basename a/b/'
t dirname 'dirname /usr/lib/x.so; dirname x; dirname /'
t rm 'rm hard; rm -r copy; rm -f missing; rm missing' 1
t rmdir 'rmdir private; mkdir -p p/q; rmdir -p p/q; rmdir a' 1
t mkfifo 'mkfifo pipe; (echo through a fifo >pipe &); cat pipe; ls -l pipe | cut -c 1-10'
t mknod 'mknod null c 1 3; ls -l null | sed "s/  */ /g" | cut -d " " -f 1,5,6; echo gone >null; mknod f p; stat -c %F f'
t mktemp 'n=$(mktemp ./tempXXXXXX); [ -f "$n" ] && stat -c %a "$n"; n=$(mktemp -d ./dirXXXXXX); stat -c %F "$n"; rm -r ./temp* ./dir*'
t truncate 'truncate -s 10K big; stat -c %s big; truncate -s 5 big; wc -c <big'
t fallocate 'fallocate -l 8192 space; stat -c "%s %b" space'
t dd 'dd if=/dev/zero of=zeroes bs=1k count=5 2>/dev/null; wc -c <zeroes; echo abcdefgh | dd bs=1 skip=2 count=3 2>/dev/null; echo; echo XX | dd of=zeroes bs=1 seek=4 count=2 conv=notrunc 2>/dev/null; head -c 8 zeroes | od -c'
t stat 'stat -c "%a %A %F %s %h %U %G" in a soft null'
t chmod 'chmod 640 in; stat -c %a in; chmod u+x,g-r,o=rw in; stat -c %a in; chmod -R go= a; stat -c %a a a/b; chmod 644 in; chmod 755 a a/b'
t chown 'chown 1:2 other; stat -c "%u %g" other; chown nobody other; stat -c %U other; chown -R 0:0 other a; stat -c %u a/b'
t chgrp 'chgrp 5 other; stat -c %g other; chgrp root other'
t du 'mkdir d; dd if=/dev/zero of=d/x bs=4k count=10 2>/dev/null; du -k d/x; du -s d; du -a d | sort -k 2'
t df 'df -k . | tail -n 1 | sed "s/  */ /g" | cut -d " " -f 6; df . | head -n 1'
t find 'find a | sort; find . -name "*.none"; find a -type d | sort; find . -size +8k -type f | sort; find a -name file -exec echo found {} \;; find in -perm 644; find . -maxdepth 1 -newer a/file -type l; find a -type f -delete; find a -type f'
t xargs 'seq 7 | xargs -n 3 echo; printf "a b\0c" | xargs -0 -n 1 echo; echo x | xargs -I % echo "<%>"; seq 3 | xargs -P 2 -n 1 true; echo 1 | xargs false' 123
t tar 'mkdir t; cp in t/x; ln -s x t/link; ln t/x t/hard; chmod 600 t/x; tar cf t.tar t; tar tf t.tar; mkdir out; tar xf t.tar -C out; ls -1 out/t; cmp t/x out/t/x; readlink out/t/link; stat -c "%a %h" out/t/x; tar cz t | tar tz | wc -l'
t cpio 'find t | sort | cpio -o -H newc 2>/dev/null >t.cpio; cpio -t <t.cpio 2>/dev/null; mkdir cp; (cd cp; cpio -id <../t.cpio 2>/dev/null; ls t)'
t ar 'printf "!<arch>\n%-16s%-12s%-6s%-6s%-8s%-10s\`\nmember\n" m.o/ 0 0 0 644 7 >lib.a; ar t lib.a; ar p lib.a m.o'
t gzip 'gzip -k in; gzip -c in | wc -c; rm in.gz; gzip <in >in.gz'
t gunzip 'gunzip -c in.gz | cmp - in; printf broken >x.gz; gunzip x.gz' 1
t zcat 'zcat in.gz | head -n 1'
t bzip2 'bzip2 -k -9 in; wc -c <in.bz2'
t bunzip2 'cp in.bz2 y.bz2; bunzip2 y.bz2; cmp y in'
t bzcat 'bzcat in.bz2 | tail -n 1'
base64 -d >hello.xz <<'END'
/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM4AA2ACtdADQZSe6N6RLmFA6/udJqRf8IdE1fpYsW1wvA
ovnPyaVllA04HeDEdR3oAAAAAFwTvN274fyJAAFHN+bJAycftvN9AQAAAAAEWVo=
END
t xzcat 'xzcat hello.xz'
t unxz 'unxz -c hello.xz | wc -c'
t xz 'xz -dc hello.xz | md5sum'
base64 -d >hello.lzma <<'END'
XQAAgAD//////////wA0GUnujekS5hQOv7l4wqGrFtI8D3L9rllV0X//yz///DpkAA==
END
t lzcat 'lzcat hello.lzma'
t unlzma 'unlzma -c hello.lzma | wc -c'
t lzma 'lzma -dc hello.lzma | md5sum'
t lzop 'lzop -c in >in.lzo 2>/dev/null; lzop -dc in.lzo | cmp - in'
t shred 'echo secret >s; shred -n 1 -z s; od -An -tx1 s | tr -d " \n" | head -c 14; echo; shred -u s; ls s' 1
t sync 'sync; sync in'
t run-parts 'mkdir parts; printf "#!/bin/busybox sh\necho part one \$1\n" >parts/one; cp parts/one parts/two; sed -i s/one/two/ parts/two; chmod 755 parts/*; run-parts -a x parts; run-parts --test parts'
t which 'which cat | sed "s/.*bin/bin/"; which nothing' 1
t nuke 'mkdir -p n/u/k; touch n/e; nuke n; ls n' 1
t mkdosfs 'truncate -s 1M fat; mkdosfs -n LABEL fat; od -An -c -j 3 -N 8 fat; od -An -c -j 54 -N 5 fat'
t mke2fs 'truncate -s 1M ext; mke2fs -F ext >/dev/null; od -An -tx2 -j 1080 -N 2 ext'
t unzip 'echo UEsDBBQAAAAAAIMYIlCQXicKGQAAABkAAAAFAAAAei50eHR6aXBwZWQgdGV4dCwgemlwcGVkIHRleHQKUEsBAhQDFAAAAAAAgxgiUJBeJwoZAAAAGQAAAAUAAAAAAAAAAAAAAIABAAAAAHoudHh0UEsFBgAAAAABAAEAMwAAADwAAAAAAA== | base64 -d >z.zip; unzip -l z.zip; unzip -q z.zip; cat z.txt'

# Processes and the system.
t true 'true'
t false 'false' 1
t test 'test -f in -a ! -d in; echo $?; test 3 -gt 2 && test abc = abc; echo $?; test -x in; echo $?; test soft -ef other; echo $?; test -L soft; echo $?; test -s null; echo $?; test in -nt a; echo $?' 
t "[ [[" '[ -p pipe ]; echo $?; [[ abc == a* ]]; echo $?; [ -u in ]; echo $?; [ 1 -eq 1 ]; echo $?'
t env 'env -i A=1 B=2 env | sort; env -i PATH="$PATH" sh -c "echo \$HOME."; A=5 env -u A env | grep "^A="' 1
t sh 'sh -c "echo \$0 \$1 \$#" zero one two; echo "echo from a script" >s.sh; sh s.sh; sh -e -c "false; echo not here"' 1
t ash 'ash -c "f() { local x=\$1; [ \$x -gt 0 ] || return 0; echo \$x; f \$((x-1)); }; f 3; trap \"echo trapped\" USR1; kill -USR1 \$\$; set -- a b c; shift; echo \$*; case xyz in x*) echo case;; esac; for i in 1 2; do echo loop \$i; done; while read l; do echo got \$l; done <in; echo \${PATH:+set} \${#l} \${x:-default}; echo \$((1<<10)) \$((7%4)); cat <<E
here \$((2*3))
E
exit 9"' 9
t sleep 'sleep 0.01; sleep 0; sleep x' 1
t usleep 'usleep 1000'
t timeout 'timeout 0.2 sleep 10' 143
t timeout 'timeout 10 echo in time; timeout -s KILL 0.1 sleep 10' 137
t time 'time -f "%x" true 2>&1; time -p true 2>&1 | cut -d " " -f 1'
t kill 'sleep 1000 & kill $!; wait $!; echo $?; kill -l 9; kill -l TERM; kill -0 $$; echo $?; kill -9 999999' 1
t killall 'cp /bin/busybox victim; (exec -a sleep ./victim 1000) & sleep 0.1; killall victim; wait $!; echo $?; killall nothing-here' 1
t pidof '(exec -a sleep ./victim 1000) & sleep 0.1; [ "$(pidof victim)" = $! ]; echo $?; kill $!; wait $!; pidof nothing-here' 1
t ps 'ps -o pid,comm,args | grep -c "^ *1 "; ps -o comm | head -n 1; ps | head -n 1'
t setsid 'setsid sh -c "echo in a session of its own"'
t renice 'sleep 100 & renice -n 7 -p $!; cut -d " " -f 19 /proc/$!/stat; kill $!'
t ionice 'ionice -c 3 echo idle; ionice -p 1 | cut -d : -f 1'
t taskset 'taskset 1 echo on the first processor; taskset -p 1 | sed "s/.*: *//" | grep -c .'
t chroot 'mkdir -p root/bin; cp /bin/busybox root/bin; chroot root /bin/busybox ls /; chroot missing true' 1
t su 'su -s /bin/sh nobody -c "id -u; echo \$HOME"'
t setpriv 'setpriv --nnp true; setpriv --nnp grep NoNewPrivs /proc/self/status'
t id 'id -u; id -g; id -un; id -gn nobody; id root; id nosuchuser' 1
t whoami 'whoami'
t groups 'groups; groups nobody'
t logname 'logname' 1
t tty 'tty </dev/null' 1
t stty 'stty -a </dev/null >/dev/null' 1
t uname 'uname; uname -m; uname -s -m'
t arch 'arch'
t linux32 'linux32 uname -m'
t linux64 'linux64 uname -m'
t hostname 'old=$(hostname); hostname changed-name; hostname; hostname "$old"'
t dnsdomainname 'dnsdomainname 2>/dev/null | wc -l'
t hostid 'hostid | wc -c'
t nproc '[ "$(nproc)" = "$(grep -c ^processor /proc/cpuinfo)" ]; echo $?'
t uptime 'uptime | grep -c "load average: [0-9]"'
t free 'free | sed "s/[0-9][0-9]*/N/g;s/  */ /g"'
t top 'top -b -n 1 | head -n 1 | cut -d : -f 1'
t w 'w | sed 1d | head -n 1'
t who 'who | wc -l'
t dmesg 'dmesg >/dev/null; echo $?'
t sysctl 'sysctl -n kernel.ostype; sysctl kernel.pid_max | cut -d = -f 1; sysctl -w kernel.hostname=by-sysctl; hostname; sysctl nosuch.setting' 1
t mount 'mkdir mnt; mount -t tmpfs -o size=64k name mnt; grep -c " $PWD/mnt tmpfs rw" /proc/mounts; echo inside >mnt/file; dd if=/dev/zero of=mnt/big bs=1k count=100 2>/dev/null; stat -c %s mnt/big; mount -o remount,ro mnt; touch mnt/x' 1
t umount 'umount mnt; ls mnt; umount mnt' 1
t mount 'mkdir from to; echo bound >from/f; mount --bind from to; cat to/f; umount to'
t swapon 'swapon -s | wc -l; swapon in 2>/dev/null' 1
t losetup 'losetup -a | wc -l'
t mkpasswd 'mkpasswd -m md5 -S saltsalt password; mkpasswd -m sha256 -S saltsalt password; mkpasswd -m des -S ab password'
t ipcalc 'ipcalc -bnmp 192.168.5.77/26'
t getopt 'getopt -o ab:c -l long,with: -- -a -b x --long rest --with=y -c'
t clear 'clear | od -c | head -n 1'
t reset 'reset </dev/null'
t start-stop-daemon 'start-stop-daemon -S -b -m -p pidfile -x /bin/busybox -- sleep 100; while [ ! -s pidfile ]; do usleep 10000; done; kill -0 $(cat pidfile); echo $?; start-stop-daemon -K -q -p pidfile -o; rm pidfile'
t pwd 'cd a/b && pwd | sed "s/.*work/work/"; pwd -P | sed "s/.*work/work/"'
t yes 'yes again | head -n 3'
t watch 'timeout 1 watch -n 10 -t echo watched </dev/null >w.out 2>/dev/null; grep -c watched w.out'
t blockdev 'blockdev --getss in' 1
t findfs 'findfs LABEL=nothing' 1
t crontab 'crontab -c /nonexistent -l' 1
t microcom 'microcom /dev/null-missing' 1
t cttyhack 'cttyhack echo no terminal needed'
t nc 'nc -w 1 127.0.0.1 1 </dev/null 2>/dev/null' 1
t rmmod 'rmmod nosuchmodule 2>/dev/null' 1
t modinfo 'modinfo nosuchmodule >/dev/null 2>&1; echo ended'
t last 'last 2>/dev/null | wc -l | grep -c .'

count=$(sort -u "$used" | wc -l)
echo "== summary"
[ "$count" -ge 120 ] && echo "at least 120 applets" || failed=$((failed + 1))
echo "$failed failed"
cd / && rm -rf "${used%/used}"
[ "$failed" = 0 ]
