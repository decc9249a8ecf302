"""The step and the sampling of bench-peers.mjs in PyTorch and diffusers: a process that does what it is told, a line of JSON
at a time. Its argument is JSON: the folder that ours.mjs wrote, the kind of peer, batch, device, threads."""

import contextlib
import json
import os
import resource
import sys
import time

settings = json.loads(sys.argv[1])
os.environ["OMP_NUM_THREADS"] = settings["threads"]

import torch  # noqa: E402: it reads the number of threads
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch.nn.functional import mse_loss  # noqa: E402

kind = settings["kind"]
batch = int(settings["batch"])
device = torch.device(settings["device"])
plain = kind == "eager"  # as the paper's code runs it
torch.backends.cudnn.benchmark = not plain
with open(os.path.join(settings["folder"], "config.json")) as file:
    config = json.load(file)
shape = (batch, config["in_channels"], config["sample_size"], config["sample_size"])


def make_unet():
    unet = UNet2DModel.from_config(config).to(device)
    if not plain:
        unet = unet.to(memory_format=torch.channels_last)
    if kind == "compile":
        unet.compile(dynamic=False, mode=settings.get("compileMode", "max-autotune" if device.type == "cuda" else None))
    return unet


student, teacher = make_unet(), make_unet().eval()
optimizer = torch.optim.Adam(student.parameters(), lr=2e-4, fused=not plain)
scheduler = DDIMScheduler(
    beta_start=1e-4, beta_end=0.02, rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=True
)
# diffusers puts 2⁻²⁴ for the last of them, and the paper's code 0.
alphas = scheduler.alphas_cumprod.clone()
alphas[-1] = 0
alphas = alphas.to(device)
images = torch.rand(1000, *shape[1:], device=device) * 2 - 1


def precision():
    return contextlib.nullcontext() if plain else torch.autocast(device.type, torch.bfloat16)


def normal():
    # The paper's code draws on the CPU and moves it.
    return torch.randn(shape).to(device) if plain else torch.randn(shape, device=device)


def add_noise(x0, noise, timesteps):
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    return alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise


@torch.no_grad()
def teacher_images(x, steps=2):
    """DDIM as the paper's code runs it: trailing timesteps, x̂₀ clipped, 1e-8 added to ᾱ."""
    jump = 1000 // steps
    for i in range(steps):
        t = round(1000 - i * 1000 / steps) - 1
        alpha = alphas[t]
        previous = alphas[t - jump] if t >= jump else torch.ones((), device=device)
        answer = teacher(x, torch.full((x.shape[0],), t, device=device), return_dict=False)[0].float()
        x0 = ((x - (1 - alpha).sqrt() * answer) / (alpha + 1e-8).sqrt()).clamp(-1, 1)
        x = previous.sqrt() * x0 + (1 - previous).sqrt() * answer
        if plain and (torch.isnan(answer).any() or torch.isnan(x).any()):
            raise RuntimeError("the teacher's images are not finite")
    return x


def losses(real, replayed):
    """The loss of task 2 with λ = 0.75, and of its two terms, for given draws."""
    with precision():
        xt = add_noise(real["x0"], real["noise"], real["timesteps"])
        replayed_xt = add_noise(teacher_images(replayed["z"]), replayed["noise"], replayed["timesteps"])
        with torch.no_grad():
            # Copied, because a CUDA graph's next run may write over what it gave.
            target = teacher(replayed_xt, replayed["timesteps"], return_dict=False)[0].clone()
        timesteps = torch.cat([real["timesteps"], replayed["timesteps"]])
        answer = student(torch.cat([xt, replayed_xt]), timesteps, return_dict=False)[0]
        terms = mse_loss(answer[:batch], real["noise"]), mse_loss(answer[batch:], target)
        return terms[0] / 2 + terms[1] * 0.75 / 2, *terms


def step():
    timesteps = [torch.randint(0, 1000, (batch,), device=device) for _ in range(2)]
    chosen = images[torch.randint(0, len(images), (batch,), device=device)]
    real = {"x0": chosen, "noise": normal(), "timesteps": timesteps[0]}
    replayed = {"z": normal(), "noise": normal(), "timesteps": timesteps[1]}
    optimizer.zero_grad()
    losses(real, replayed)[0].backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()


pipeline = DDIMPipeline(student, scheduler)
pipeline.set_progress_bar_config(disable=True)


def sample(count, steps):
    with precision():
        pipeline(batch_size=count, num_inference_steps=steps, output_type="np")


def milliseconds(work):
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return {"milliseconds": (time.perf_counter() - start) * 1000}


def check():
    torch.backends.cudnn.allow_tf32 = False  # float32 throughout, as ours is
    tensors = {name: t.to(device) for name, t in load_file(os.path.join(settings["folder"], "step.safetensors")).items()}
    parts = {}
    for name, tensor in tensors.items():
        part, rest = name.split(".", 1)
        parts.setdefault(part, {})[rest] = tensor.long() if rest == "timesteps" else tensor
    student.load_state_dict(parts["student"])
    teacher.load_state_dict(parts["teacher"])
    return {"losses": [value.item() for value in losses(parts["0"], parts["1"])]}


def do(message):
    match message["do"]:
        case "step":
            return milliseconds(lambda: [step() for _ in range(message["count"])])
        case "sample":
            return milliseconds(lambda: sample(message["count"], message["steps"]))
        case "memory":
            return {"mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        case "losses":
            return check()


for line in sys.stdin:
    print(json.dumps(do(json.loads(line))), flush=True)
