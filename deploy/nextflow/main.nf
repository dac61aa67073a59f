// A run as a Nextflow workflow: plan, then shares of the blocks side by side, then the results.
//
//   nextflow run deploy/nextflow/main.nf --study my-study/study.toml --out out --shares 16
//
// OUT has to be seen by all tasks, or be an object store: Nextflow stages nothing, because OUT is the checkpoint that a
// share goes on with when it is tried again.

params.study = 'study.toml'
params.out = 'out'
params.shares = 16

process PLAN {
    input:
    val study
    val out

    output:
    val out

    script:
    """
    ale-dask plan '${study}' -o '${out}' -w ${params.shares}
    """
}

process BLOCK {
    cpus 1
    memory '1 GB'
    time '1 h'
    // 75: stopped (walltime, preemption), or blocks are left: the same command goes on. 137 to 143: killed.
    errorStrategy { task.exitStatus in [75, 137, 140, 143] ? 'retry' : 'finish' }
    maxRetries 5

    input:
    tuple val(out), val(share)

    output:
    val share

    script:
    """
    ale-dask block '${out}' ${share} --of ${params.shares}
    """
}

process COLLECT {
    memory '4 GB'

    input:
    val out
    val shares

    output:
    val out

    script:
    """
    ale-dask collect '${out}'
    """
}

workflow {
    def study = file(params.study).toAbsolutePath().toString()
    def out = params.out.contains('://') ? params.out : file(params.out).toAbsolutePath().toString()
    def planned = PLAN(study, out)
    def done = BLOCK(planned.combine(channel.of(0..<(params.shares as Integer))))
    COLLECT(out, done.collect())
}
