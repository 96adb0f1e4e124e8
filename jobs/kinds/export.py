"""Keep a snapshot under a name of its own, with a note. Weights are linked, not copied, where the disk can."""

from dataclasses import dataclass

from jobs.contract import BadArgs, Run

LANE = "cpu"


@dataclass(frozen=True)
class Args:
    name: str  # of the new model
    model: str | None = None  # the one to keep; or
    run: int | None = None  # the job whose newest snapshot to keep
    note: str = ""

    def __post_init__(self) -> None:
        from gpt.archive import check_name
        from gpt.config import BadConfig

        if (self.model is None) == (self.run is None):
            raise BadArgs("export takes either model, a name in models/, or run, the id of a train job")
        try:
            check_name(self.name)
        except BadConfig as error:
            raise BadArgs(f"export: {error}") from error


def run(args: Args, job: Run, prepared: object = None) -> None:
    from datagen import files
    from gpt import archive

    source = args.model or newest_snapshot(args, job)
    folder = job.home / "models" / args.name
    try:
        if files.is_complete(folder) and archive.entry(folder).manifest["parent"] != source:
            raise BadArgs(f"models/{args.name} is another model already: take a name that is free")
        archive.export(job.home / "models" / source, folder, args.note)
    except (FileNotFoundError, archive.DamagedModel) as error:
        raise BadArgs(f"export: {error}") from error
    job.note(f"{source} is kept as {args.name}")


def newest_snapshot(args: Args, job: Run) -> str:
    from gpt import archive

    mine = [e for e in archive.list_models(job.home) if e.manifest.get("run") == args.run]
    snapshots = [e for e in mine if e.manifest["kind"] == "snapshot"]
    if not snapshots:
        raise BadArgs(f"job {args.run} has kept no snapshot: give a train job that has passed its first one")
    return max(snapshots, key=lambda e: int(e.manifest["step"])).name
