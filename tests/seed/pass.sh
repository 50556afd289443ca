#!/bin/bash
# One pass of the dispatcher script of the 2003 article "Policy routing": who is in the ARP
# table and in no pool goes to the pool with the fewest lines. Kept faithful, for two lines,
# to compare pool files with. Runs in the current directory (pool1, pool2 there).
#   ARP=file   table to read instead of /proc/net/arp
#   IPT=cmd    stands for iptables
ARP=${ARP:-/proc/net/arp}; IPT=${IPT:-iptables}; LineNum=2

EvaLoad() {
  Fwmark=1; Cnt=1
  Line=$(wc -l pool1 | awk '{print $1}')
  while [ $Cnt -lt $LineNum ]; do
    Cnt=$(expr $Cnt + 1)
    LineN=$(wc -l pool$Cnt | awk '{print $1}')
    if [ $Line -gt $LineN ]; then Line=$LineN; Fwmark=$Cnt; fi
  done
}

grep '[0-9]' $ARP | awk '{print $1}' > iparp
cat pool1 pool2 > pooltmp
cat iparp | while read ClientIp; do
  grep -w "$ClientIp" pooltmp >/dev/null
  if [ $? -ne 1 ]; then continue; fi
  EvaLoad
  $IPT -t mangle -A PREROUTING -s $ClientIp/32 -j MARK --set-mark $Fwmark
  echo $ClientIp >> pool$Fwmark
done
