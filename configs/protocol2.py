"""Protocol 2 of the paper: scar inside the drawn myocardium.

python -m scarseg_jax.main --config=configs/protocol2.py --workdir=runs/protocol2 \
    --config.data.source=emidec --config.data.path=PATH

Any value can be overridden on the command line, such as --config.folds.k=5.
"""

from ml_collections import config_dict


def get_config():
    """Returns the configuration; section numbers are the paper's."""
    config = config_dict.ConfigDict()
    config.protocol = 2  # 1: the whole crop, 2: the myocardium only (2.1); 3: finds it
    config.context = False  # Protocol 2 sees the surroundings too, not in the paper
    config.neighbours = 0  # or 1: so many slices on each side are seen too, not in it
    config.crop = "hough"  # around circles (3); or the drawn myocardium; or learned
    config.finder = ""  # or a bundle whose networks find the myocardium, not in it
    config.start = ""  # or simulated, or a bundle: as what all begin, not in it
    config.data = config_dict.create(
        source="phantom",  # dicom, emidec, myops, folder or phantom
        path="",  # the source's folder; the phantom has none
        patients=(),  # their names; empty takes all
        leave_out=(),  # names of those not to take
        force=False,  # take masks that look wrong, with a warning
        slice_axis=-1,  # 0, 1 or 2 in all files; -1: the thickest, found in each
        consensus="staple",  # or majority: how several readers' scars become one
        phantom_patients=30,
        phantom_seed=0,
        phantom_wide=False,  # of hearts and images that differ more than real ones do
    )
    config.folds = config_dict.create(
        k=0,  # 0 leaves one patient out at a time (3); else so many patient groups
        validation=0.125,  # share of training patients that chooses when scar is called
        seed=0,  # of the split
        seeds=(0,),  # one network for each fold and each of these
        only=(),  # such as (0, 1): these folds alone are trained and judged, for a trial
    )
    config.model = config_dict.create(
        # The paper's ENet; or enet (the ENet paper's), pytorch_enet; or an opponent:
        # unet, fcn3d (3-D), rfcn (recurrent), patch (17 x 17 pixels around each).
        variant="seed",
        classes="scar",  # what it tells apart; or scar_no_reflow, heart_scar
    )
    config.train = config_dict.create(  # (3.1)
        epochs=100,
        batch_size=4,
        learning_rate=5e-4,
        decay=0.1,  # of the learning rate, over 100 epochs
        weight_decay=2e-4,  # decoupled, on convolution kernels
        augmentation="symmetries",  # or deformed: turned and bent as well; or repainted, too
        class_weights=(1.0, 1.0),  # of background and scar in the cross entropy
        dice=False,  # or true, not in the paper: the batch's soft Dice in the loss too
        averaging=0.0,  # or 0.9995, not in the paper: weights' moving mean over steps
        selection="last",  # or validation, or oracle (which looks at the test patient)
    )
    # The probability from which a pixel is called scar; 0: chosen on the validation
    # patients, together with the smallest area that counts, for each network.
    config.threshold = 0.0
    config.symmetries = True  # average what a network says of an image's 8 symmetries
    config.devices = 0  # CPU cores to use; 0 takes all
    config.require_gpu = False  # stop when no GPU is found, rather than use the CPU
    return config
