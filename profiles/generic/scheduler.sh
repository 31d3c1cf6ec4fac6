#!/bin/sh
# The commands of four schedulers behind three words:
#   submit RULE THREADS MEM_MB MINUTES GPUS JOBSCRIPT   prints the job's number
#   status NUMBER                                       prints running, success or failed
#   cancel NUMBER...
set -eu
has() { command -v "$1" > /dev/null; }
if has sbatch; then scheduler=slurm
elif has bsub; then scheduler=lsf
elif has pbsnodes; then scheduler=pbs
elif has qsub; then scheduler=sge
else echo "scheduler.sh: no sbatch, bsub or qsub on the PATH" >&2; exit 1; fi
# output of a status command; a scheduler that does not answer does not mean a failed job
ask() {
    said=$("$@" 2>&1) && return
    case $said in
    *nvalid\ job* | *nknown\ [Jj]ob* | *"not found"* | *"do not exist"*) echo failed ;;
    *) echo running ;;
    esac
    exit
}

case $1 in
submit)
    rule=$2 threads=$3 mem=$4 minutes=$5 gpus=$6 script=$7
    mkdir -p results/logs/scheduler
    log=results/logs/scheduler/$rule
    case $scheduler in
    slurm) sbatch --parsable -J "$rule" -c "$threads" --mem "$mem" -t "$minutes" -o "$log-%j.log" \
        $([ "$gpus" = 0 ] || echo "--gpus=$gpus") "$script" ;;
    lsf) bsub -J "$rule" -n "$threads" -R "span[hosts=1] rusage[mem=${mem}MB]" -W "$minutes" \
        -o "$log-%J.log" $([ "$gpus" = 0 ] || echo "-gpu num=$gpus") < "$script" |
        sed -n 's/^Job <\([0-9]*\)>.*/\1/p' ;;
    pbs) qsub -N "$rule" -l "select=1:ncpus=$threads:mem=${mem}mb:ngpus=$gpus" \
        -l "walltime=$((minutes * 60))" -j oe -o results/logs/scheduler/ "$script" ;;
    sge) qsub -terse -cwd -V -N "$rule" -pe smp "$threads" -l "h_vmem=$((mem / threads))M" \
        -l "h_rt=$((minutes * 60))" $([ "$gpus" = 0 ] || echo "-l gpu=$gpus") -j y \
        -o results/logs/scheduler/ "$script" ;;
    esac ;;
status)
    case $scheduler in
    slurm) ask scontrol show job -o "$2"
        state=$(echo "$said" | sed 's/.*JobState=\([A-Z_]*\).*/\1/') ;;
    lsf) ask bjobs -noheader -o stat "$2"
        state=$said ;;
    pbs) ask qstat -x -f "$2"
        state=$(echo "$said" | sed -n 's/ *job_state = //p')
        [ "$state" != F ] || state=EXIT$(echo "$said" | sed -n 's/ *Exit_status = //p') ;;
    sge) state=RUN
        for wait in 0 5 10 20 30; do  # its accounts lag behind
            ! qstat -j "$2" > /dev/null 2>&1 || break
            sleep $wait
            said=$(qacct -j "$2" 2> /dev/null) || continue
            state=EXIT$(echo "$said" | awk '$1 == "exit_status" || $1 == "failed" {n += $2} END {print n}')
            break
        done ;;
    esac
    case $state in
    COMPLETED | DONE | EXIT0) echo success ;;
    PENDING | CONFIGURING | RUNNING | COMPLETING | SUSPENDED | RUN | PEND | ?SUSP | [QRHSETW]) echo running ;;
    *) echo failed ;;
    esac ;;
cancel)
    shift
    case $scheduler in slurm) scancel "$@" ;; lsf) bkill "$@" ;; *) qdel "$@" ;; esac ;;
esac
